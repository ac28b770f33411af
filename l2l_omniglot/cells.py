"""The cells of a comparison: settings, backbone and algorithm, and what each reached."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from l2l_omniglot.choices import BATCH_NORMS
from l2l_omniglot.data import SYNTHETIC
from l2l_omniglot.errors import RunError, check_name
from l2l_omniglot.evaluation import Curve, Evaluation
from l2l_omniglot.files import write_text
from l2l_omniglot.settings import ALGORITHMS, Settings, make_settings

SETTINGS = {"5w1s": (5, 1), "5w5s": (5, 5), "20w1s": (20, 1), "20w5s": (20, 5)}
# Transductive, in percent. The tutorial's author: figures of its repository. Finn et al. 2017:
# table 1. Their test classes are not these.
PUBLISHED = {
    ("basenet", "5w1s"): ("the tutorial's author", 97.5),
    ("basenet", "20w1s"): ("the tutorial's author", 84.8),
    ("basenet", "20w5s"): ("the tutorial's author", 94.4),
    ("cnn4", "5w1s"): ("Finn et al. 2017", 98.7),
    ("cnn4", "5w5s"): ("Finn et al. 2017", 99.9),
    ("cnn4", "20w1s"): ("Finn et al. 2017", 95.8),
    ("cnn4", "20w5s"): ("Finn et al. 2017", 98.9),
}


@dataclass(frozen=True)
class Cell:
    """One training of the grid; `setting` is one of `SETTINGS`."""

    setting: str
    backbone: str
    algorithm: str

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.setting}-{self.backbone}-{self.algorithm}"

    def settings(self, **values: Any) -> Settings:
        """Of its run: the default recipe's, with these."""
        ways, shots = SETTINGS[self.setting]
        return make_settings(
            ways=ways, shots=shots, backbone=self.backbone, algorithm=self.algorithm, **values
        )


@dataclass(frozen=True)
class CellResult:
    """What a cell reached.

    Attributes:
        cell: which.
        settings: of its run.
        iteration: meta-updates made.
        best: meta-updates behind the weights that were evaluated.
        minutes: of training and validation, all sessions together.
        evaluation: of the best weights, in both modes of batch normalisation.
    """

    cell: Cell
    settings: Settings
    iteration: int
    best: int
    minutes: float
    evaluation: Evaluation

    @property
    def published(self) -> tuple[str, float] | None:
        """Whose figure there is for it, and the percentage."""
        comparable = self.cell.algorithm == "maml" and self.settings.data != SYNTHETIC
        key = (self.cell.backbone, self.cell.setting)
        return PUBLISHED.get(key) if comparable else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; accuracies in [0, 1]."""
        published = self.published
        return {
            **asdict(self.cell),
            "iteration": self.iteration,
            "best": self.best,
            "iterations": self.settings.iterations,
            "minutes": round(self.minutes, 2),
            "tasks": self.evaluation.tasks,
            "steps": self.evaluation.steps,
            **{mode: asdict(curve) for mode, curve in self.evaluation.curves.items()},
            "published": published and {"by": published[0], "accuracy": published[1] / 100},
            "settings": self.settings.to_dict(),
        }

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> CellResult:
        """The inverse of `to_dict`."""
        curves = {mode: Curve(**body[mode]) for mode in BATCH_NORMS}
        return cls(
            Cell(body["setting"], body["backbone"], body["algorithm"]),
            Settings(**body["settings"]),
            body["iteration"],
            body["best"],
            body["minutes"],
            Evaluation(body["tasks"], body["steps"], curves),
        )


def grid(
    settings: Iterable[str], backbones: Iterable[str], algorithms: Iterable[str]
) -> list[Cell]:
    """All cells, setting by setting.

    Raises:
        SettingsError: if a setting or an algorithm is unknown.
    """
    cells = [Cell(*values) for values in product(settings, backbones, algorithms)]
    for cell in cells:
        check_name("setting", cell.setting, SETTINGS)
        check_name("algorithm", cell.algorithm, ALGORITHMS)
    return cells


def read_result(path: Path) -> CellResult:
    """The inverse of a cell's result file.

    Raises:
        RunError: if it is broken.
    """
    try:
        return CellResult.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read, delete it: {error}") from error


def write_results(results: list[CellResult], folder: Path) -> None:
    """Writes ``results.json``, ``results.csv``, ``results.md`` and the plot ``steps.png``."""
    from l2l_omniglot.plot import plot_steps
    from l2l_omniglot.report import reproduction_csv, reproduction_markdown

    bodies = [result.to_dict() for result in results]
    write_text(folder / "results.json", json.dumps(bodies, indent=1) + "\n")
    write_text(folder / "results.csv", reproduction_csv(results))
    write_text(folder / "results.md", reproduction_markdown(results))
    plot_steps({result.cell.name: result.evaluation for result in results}, folder / "steps.png")
