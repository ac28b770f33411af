"""Comparisons: settings, backbones and algorithms, trained, beside published figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from l2l_omniglot._util.files import write_text
from l2l_omniglot.errors import RunError, TrainingError, check_choice
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import SYNTHETIC, Experiment
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import ALGORITHMS, Settings, make_settings
from l2l_omniglot.experiments.training import Observer, Outcome, TrainingRun
from l2l_omniglot.meta.evaluation import Curve, Evaluation, evaluate

RESULT = "result.json"
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
class Condition:
    """One training of a comparison; `setting` is one of `SETTINGS`."""

    setting: str
    backbone: str
    algorithm: str

    @property
    def name(self) -> str:
        """Names its run folder."""
        return f"{self.setting}-{self.backbone}-{self.algorithm}"

    def settings(self, **values: Any) -> Settings:
        """Gives those of its run: the default recipe's, with these."""
        ways, shots = SETTINGS[self.setting]
        return make_settings(
            ways=ways, shots=shots, backbone=self.backbone, algorithm=self.algorithm, **values
        )


@dataclass(frozen=True)
class ConditionResult:
    """What a condition reached.

    Attributes:
        condition: which.
        settings: of its run.
        iteration: meta-updates made.
        best: meta-updates behind the weights that were evaluated.
        minutes: of training and validation, all sessions together.
        evaluation: of the best weights, in both modes of batch normalisation.
    """

    condition: Condition
    settings: Settings
    iteration: int
    best: int
    minutes: float
    evaluation: Evaluation

    @property
    def published(self) -> tuple[str, float] | None:
        """Whose figure there is for it, and the percentage."""
        comparable = self.condition.algorithm == "maml" and self.settings.data != SYNTHETIC
        key = (self.condition.backbone, self.condition.setting)
        return PUBLISHED.get(key) if comparable else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; accuracies in [0, 1]."""
        published = self.published
        return {
            **asdict(self.condition),
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
    def from_dict(cls, body: dict[str, Any]) -> ConditionResult:
        """The inverse of `to_dict`."""
        curves = {
            mode: Curve(**found)
            for mode, found in body.items()
            if isinstance(found, dict) and "accuracy_per_step" in found
        }
        return cls(
            Condition(body["setting"], body["backbone"], body["algorithm"]),
            Settings(**body["settings"]),
            body["iteration"],
            body["best"],
            body["minutes"],
            Evaluation(body["tasks"], body["steps"], curves),
        )


def conditions(
    settings: Iterable[str], backbones: Iterable[str], algorithms: Iterable[str]
) -> list[Condition]:
    """Makes all combinations, setting by setting.

    Raises:
        SettingsError: if a setting or an algorithm is unknown.
    """
    found = [Condition(*values) for values in product(settings, backbones, algorithms)]
    for condition in found:
        check_choice("setting", condition.setting, SETTINGS)
        check_choice("algorithm", condition.algorithm, ALGORITHMS)
    return found


def read_result(path: Path) -> ConditionResult:
    """Reads the result file of a condition.

    Raises:
        RunError: if it is broken.
    """
    try:
        return ConditionResult.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read, delete it: {error}") from error


class Watcher(Protocol):
    """Is told what the comparison does."""

    def begins(self, condition: Condition, settings: Settings) -> None:
        """Called before a condition is trained."""

    def observer(self, settings: Settings) -> Observer:
        """Gives what watches its training."""

    def train(self, run: TrainingRun, minutes: float | None) -> Outcome:
        """Trains the run, e.g. with a way to stop it."""

    def evaluating(self, count: int) -> AbstractContextManager[Callable[[int], None]]:
        """Surrounds an evaluation, which calls it with the number of tasks done."""


class Stopped(Exception):  # noqa: N818 - no error
    """A training was asked to stop."""


class Comparison:
    """Conditions and the folder of their runs.

    Args:
        chosen: see `conditions`.
        build: makes the experiment of a condition's settings.
        folder: of a run folder for each condition, and of the results.
        tasks: test tasks a condition, always the same ones.
        watcher: is told what happens.
        write: writes all results into the folder, after each condition.
        values: of `Settings` that all conditions have, e.g. ``iterations``.

    Raises:
        L2LOmniglotError: if a condition cannot be built, or its test part is too small.
    """

    def __init__(
        self,
        chosen: list[Condition],
        build: Callable[[Settings], Experiment],
        folder: Path,
        tasks: int,
        watcher: Watcher,
        write: Callable[[list[ConditionResult], Path], None],
        **values: Any,
    ) -> None:
        self.settings = {condition: condition.settings(**values) for condition in chosen}
        self._build, self.folder, self._tasks = build, folder, tasks
        self._watcher, self._write = watcher, write
        for settings in self.settings.values():  # refused now, not after hours of training
            build(settings).tasks("test", seed=0)

    def run(self, minutes: float | None = None) -> list[TrainingError]:
        """Trains and evaluates every condition, and writes the results after each.

        Args:
            minutes: of training in all, shared out evenly among the conditions that need some.

        Returns:
            The errors of the trainings that failed; the other conditions are made all the same.

        Raises:
            Stopped: if a training was asked to stop.
            RunError: if a folder holds a run with other settings.
        """
        waiting = [condition for condition in self.settings if not self._is_trained(condition)]
        spent = 0.0
        errors: list[TrainingError] = []
        for condition, settings in self.settings.items():
            self._watcher.begins(condition, settings)
            share = None
            if minutes is not None and condition in waiting:
                share = max(minutes - spent, 1e-3) / (len(waiting) - waiting.index(condition))
            try:
                spent += self._run(condition, settings, share)
            except TrainingError as error:
                errors.append(TrainingError(f"{condition.name}: {error}"))
            results = self.results()
            if results:
                self._write(results, self.folder)
        return errors

    def results(self) -> list[ConditionResult]:
        """Reads those of all conditions in the folder, of this comparison and others.

        Raises:
            RunError: if a result is broken.
        """
        found = [read_result(path) for path in sorted(self.folder.glob(f"*/{RESULT}"))]
        settings, algorithms = list(SETTINGS), list(ALGORITHMS)

        def place(result: ConditionResult) -> tuple[int, str, int]:
            condition = result.condition
            number = algorithms.index(condition.algorithm)
            return settings.index(condition.setting), condition.backbone, number

        return sorted(found, key=place)

    def _is_trained(self, condition: Condition) -> bool:
        last = RunFolder(self.folder / condition.name).last
        done = last.is_file() and load_checkpoint(last).iteration
        return done == self.settings[condition].iterations

    def _run(self, condition: Condition, settings: Settings, minutes: float | None) -> float:
        """Trains and evaluates a condition; returns the minutes of training this time."""
        run_folder = RunFolder(self.folder / condition.name)
        there = run_folder.config.exists()
        if there and run_folder.read_settings() != settings:
            raise RunError(
                f"{run_folder.path}: holds a run with other settings; expected another folder"
            )
        experiment = self._build(settings)
        run = TrainingRun(experiment, run_folder, self._watcher.observer(settings))
        run.begin(resume=there)
        before, result_path = run.minutes, run_folder.path / RESULT
        if run.trainer.iteration < settings.iterations:
            if self._watcher.train(run, minutes).reason == "stopped":
                raise Stopped
        elif self._is_evaluated(result_path):
            return 0.0
        spent = run.minutes - before
        best, evaluation = self._evaluate(experiment, run_folder)
        result = ConditionResult(
            condition, settings, run.trainer.iteration, best, run.minutes, evaluation
        )
        write_text(result_path, json.dumps(result.to_dict(), indent=1) + "\n")
        return spent

    def _is_evaluated(self, path: Path) -> bool:
        if not path.is_file():
            return False
        result = read_result(path)
        done = result.iteration == result.settings.iterations
        return done and result.evaluation.tasks == self._tasks

    def _evaluate(self, experiment: Experiment, run_folder: RunFolder) -> tuple[int, Evaluation]:
        """Evaluates the best weights; returns their iteration, and what they give."""
        best = run_folder.best if run_folder.best.is_file() else run_folder.last
        checkpoint = load_checkpoint(best)
        loaded = Experiment.load(checkpoint, experiment.stack, str(experiment.learner.device))
        steps = experiment.settings.eval_steps
        with self._watcher.evaluating(self._tasks) as progress:
            evaluation = evaluate(
                loaded.learner, loaded.tasks("test", seed=0), self._tasks, steps, progress,
                batch_norm="both",
            )  # fmt: skip
        return checkpoint.iteration, evaluation
