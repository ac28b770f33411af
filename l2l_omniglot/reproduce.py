"""A grid of settings, backbones and algorithms, trained, evaluated, beside published figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.evaluation import Evaluation, evaluate
from l2l_omniglot.experiment import Experiment
from l2l_omniglot.files import write_text
from l2l_omniglot.recipes import ALGORITHMS, Settings, make_settings
from l2l_omniglot.run import RunFolder
from l2l_omniglot.training import Observer, TrainingRun

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

    @property
    def published(self) -> tuple[str, float] | None:
        """Whose figure there is for it, and the percentage."""
        plain = self.algorithm == "maml"
        return PUBLISHED.get((self.backbone, self.setting)) if plain else None

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
        iteration, iterations: meta-updates behind the weights, and of the whole recipe.
        minutes: of training and validation, all sessions together.
        evaluation: in both modes of batch normalisation.
    """

    cell: Cell
    iteration: int
    iterations: int
    minutes: float
    evaluation: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; accuracies in [0, 1]."""
        published = self.cell.published
        curves = {mode: asdict(curve) for mode, curve in self.evaluation.curves.items()}
        for curve in curves.values():
            del curve["accuracy_per_task"]
        return {
            **asdict(self.cell),
            "iteration": self.iteration,
            "iterations": self.iterations,
            "minutes": round(self.minutes, 2),
            "tasks": self.evaluation.tasks,
            "steps": self.evaluation.steps,
            **curves,
            "published": published and {"by": published[0], "accuracy": published[1] / 100},
        }


class Watcher(Protocol):
    """Is told what the grid does."""

    def begins(self, cell: Cell, settings: Settings, minutes: float | None) -> None:
        """Before a cell is trained, for at most so many minutes."""

    def training(self, run: TrainingRun) -> AbstractContextManager[None]:
        """Around the training."""

    def observer(self, settings: Settings) -> Observer:
        """Of a cell's training."""


def grid(
    settings: Iterable[str], backbones: Iterable[str], algorithms: Iterable[str]
) -> list[Cell]:
    """All cells, setting by setting.

    Raises:
        SettingsError: if a setting or an algorithm is unknown.
    """
    cells = [Cell(*values) for values in product(settings, backbones, algorithms)]
    for cell in cells:
        for value, known in ((cell.setting, SETTINGS), (cell.algorithm, ALGORITHMS)):
            if value not in known:
                raise SettingsError(f"{value!r}: needed one of {', '.join(known)}")
    return cells


def run_cell(
    cell: Cell,
    build: Callable[[Settings], Experiment],
    settings: Settings,
    folder: Path,
    minutes: float | None,
    tasks: int,
    watcher: Watcher,
    should_stop: Callable[[], bool],
) -> CellResult | None:
    """Trains a cell, or goes on with it, and evaluates its best weights.

    Args:
        cell: which.
        build: the experiment of its settings.
        settings: of its run.
        folder: of the run; what is there already is gone on with.
        minutes: limit of the training, this time.
        tasks: test tasks.
        watcher: is told.
        should_stop: asked after every update.

    Returns:
        What it reached; None if it was stopped.

    Raises:
        RunError: if the folder holds a run with other settings.
    """
    run_folder = RunFolder(folder)
    experiment = build(settings)
    watcher.begins(cell, settings, minutes)
    run = TrainingRun(experiment, run_folder, watcher.observer(settings))
    there = run_folder.config.exists()
    if there and run_folder.read_settings() != settings:
        raise RunError(f"{folder}: holds a run with other settings; needed another --out")
    run.begin(resume=there)
    if run.trainer.iteration < settings.iterations:
        with watcher.training(run):
            outcome = run.train(minutes, should_stop)
        if outcome.reason == "stopped":
            return None
    spent = run.minutes
    best = run_folder.best if run_folder.best.is_file() else run_folder.last
    trained = Experiment.load(best, experiment.stack, str(experiment.learner.device))
    result = evaluate(
        trained.learner, trained.tasks("test"), tasks, settings.eval_steps, batch_norm="both"
    )
    return CellResult(cell, run.trainer.iteration, settings.iterations, spent, result)


def write_results(results: list[CellResult], folder: Path) -> None:
    """Writes ``results.json``, ``results.csv``, ``results.md`` and the plot ``steps.png``."""
    from l2l_omniglot.plot import plot_steps
    from l2l_omniglot.report import reproduction_csv, reproduction_markdown

    body = json.dumps([result.to_dict() for result in results], indent=1)
    write_text(folder / "results.json", body + "\n")
    write_text(folder / "results.csv", reproduction_csv(results))
    write_text(folder / "results.md", reproduction_markdown(results))
    plot_steps({result.cell.name: result.evaluation for result in results}, folder / "steps.png")
