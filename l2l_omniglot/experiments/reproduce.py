"""Comparisons: trains settings, backbones and algorithms, beside published figures."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.lock import Lock
from l2l_omniglot._util.reading import read_json, reason_of
from l2l_omniglot._util.text import listed
from l2l_omniglot.backbones import BATCH_NORMS
from l2l_omniglot.errors import RunError, TrainingError, check_choice
from l2l_omniglot.experiments.algorithms import ALGORITHMS
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.learners import write_learner
from l2l_omniglot.experiments.protocols import OURS, PROTOCOLS, SETTINGS
from l2l_omniglot.experiments.published import Figure, published_figure
from l2l_omniglot.experiments.readers import SYNTHETIC
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import Settings, make_settings
from l2l_omniglot.experiments.training import Outcome, TrainingRun
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.evaluation import Curve, Evaluation, evaluate

if TYPE_CHECKING:
    from l2l_omniglot.data.tasks import Tasks

log = logging.getLogger(__name__)

RESULT = "result.json"
LOCK = "condition.lock"  # in a run folder: a process is at its training or evaluation
POLL = 0.5  # seconds, between two looks for a condition that no other process is at


@dataclass(frozen=True)
class Condition:
    """One training of a comparison.

    Attributes:
        setting: one of `SETTINGS`.
        backbone: its name.
        algorithm: its name.
        recipe: to start from.
    """

    setting: str
    backbone: str
    algorithm: str
    recipe: str = "default"

    @property
    def name(self) -> str:
        """Returns the name of its run folder."""
        name = f"{self.setting}-{self.backbone}-{self.algorithm}"
        return name if self.recipe == "default" else f"{name}-{self.recipe}"

    def settings(self, **values: Any) -> Settings:
        """Returns the settings of its run: its recipe's, with these values."""
        ways, shots = SETTINGS[self.setting]
        network = {"backbone": self.backbone, "algorithm": self.algorithm}
        return make_settings(self.recipe, ways=ways, shots=shots, **network, **values)


@dataclass(frozen=True)
class ConditionResult:
    """The result of a condition.

    Attributes:
        protocol: of the evaluation, see `l2l_omniglot.experiments.protocols`.
        iteration: meta-updates made.
        best: meta-updates made at the weights that were evaluated.
        minutes: of training and validation in all sessions.
        evaluation: of the best weights, in both modes of batch normalisation.
    """

    condition: Condition
    settings: Settings
    protocol: str
    iteration: int
    best: int
    minutes: float
    evaluation: Evaluation

    @property
    def published(self) -> Figure | None:
        """Returns the figure of the algorithm's paper, if it is of this protocol and data."""
        if self.settings.data == SYNTHETIC:
            return None
        condition = self.condition
        return published_figure(self.protocol, condition.algorithm, condition.setting)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON; accuracies in [0, 1]."""
        published, evaluation = self.published, self.evaluation
        return asdict(self.condition) | {
            "protocol": self.protocol,
            "iteration": self.iteration,
            "best": self.best,
            "iterations": self.settings.iterations,
            "minutes": round(self.minutes, 2),
            "tasks": evaluation.tasks,
            "steps": evaluation.steps,
            **{mode: asdict(curve) for mode, curve in evaluation.curves.items()},
            "published": published and published._asdict(),
            "settings": self.settings.to_dict(),
        }


def conditions(
    settings: Iterable[str],
    backbones: Iterable[str],
    algorithms: Iterable[str],
    recipe: str = "default",
) -> list[Condition]:
    """Returns all combinations, setting by setting.

    Raises:
        SettingsError: if a setting or an algorithm is unknown.
    """
    combinations = [
        Condition(*values, recipe) for values in product(settings, backbones, algorithms)
    ]
    for condition in combinations:
        check_choice("setting", condition.setting, SETTINGS)
        check_choice("algorithm", condition.algorithm, ALGORITHMS)
    return combinations


def read_result(path: Path) -> ConditionResult:
    """Reads the result file of a condition.

    Raises:
        RunError: if it is broken.
    """
    try:
        body = read_json(path)
        condition = Condition(body["setting"], body["backbone"], body["algorithm"], body["recipe"])
        curves = {mode: Curve(**body[mode]) for mode in BATCH_NORMS if mode in body}
        evaluation = Evaluation(body["tasks"], body["steps"], curves)
        return ConditionResult(
            condition,
            Settings(**body["settings"]),
            body["protocol"],
            body["iteration"],
            body["best"],
            body["minutes"],
            evaluation,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read, delete it: {reason_of(error)}") from error


class Stopped(Exception):  # noqa: N818 - no error
    """A training was stopped on request."""


class Comparison:
    """Trains and evaluates conditions, each in a run folder.

    Processes with the same folder share the conditions out: each takes what no other is at.

    Args:
        chosen: see `conditions`.
        build: builds the experiment of a condition's settings.
        folder: for the run folders and the results.
        tasks: test tasks per condition, always the same ones.
        train: trains a run for so many minutes at most, e.g. with a way to stop it.
        counting: surrounds an evaluation of so many tasks; gives what is called with those done.
        write: writes all results into the folder, after each condition.
        protocol: how to evaluate; its split is also the one to train on.
        values: of `Settings` that all conditions share, e.g. ``iterations``.

    Raises:
        L2LOmniglotError: if a condition cannot be built, or its test part is too small.
    """

    def __init__(
        self,
        chosen: list[Condition],
        build: Callable[[Settings], Experiment],
        folder: Path,
        tasks: int,
        train: Callable[[TrainingRun, float | None], Outcome],
        counting: Callable[[int], AbstractContextManager[Callable[[int], None]]],
        write: Callable[[list[ConditionResult], Path], None],
        protocol: str = OURS,
        **values: Any,
    ) -> None:
        self._protocol = protocol
        if split := PROTOCOLS[protocol].split:
            values["split"] = split
        self.settings = {condition: condition.settings(**values) for condition in chosen}
        self._build, self.folder, self._tasks = build, folder, tasks
        self._train, self._counting, self._write = train, counting, write
        self._locks: dict[Condition, Lock] = {}
        for settings in self.settings.values():  # refused now, not after hours of training
            self._test_tasks(build(settings))

    def run(self, minutes: float | None = None) -> list[TrainingError]:
        """Trains and evaluates every condition, and writes the results after each.

        Args:
            minutes: of training in total, divided evenly among the conditions not trained yet.

        Returns:
            The errors of the trainings that failed; they do not end the comparison.

        Raises:
            Stopped: if a training was stopped on request.
            RunError: if a folder holds a run with other settings.
        """
        waiting = [condition for condition in self.settings if not self._is_trained(condition)]
        left, spent = list(self.settings), 0.0
        errors: list[TrainingError] = []
        while left:
            condition = self._next(left)
            settings = self.settings[condition]
            left.remove(condition)
            log.info(f"{condition.name}: {settings.iterations} iterations")
            share = None
            if minutes is not None and condition in waiting:
                several = sum(each in waiting for each in left) + 1
                share = max(minutes - spent, 1e-3) / several
            try:
                spent += self._run(condition, settings, share)
            except TrainingError as error:
                errors.append(TrainingError(f"{condition.name}: {error}"))
            finally:
                self._locks.pop(condition).release()
            results = self.results()
            if results:
                self._write(results, self.folder)
        return errors

    def _next(self, left: list[Condition]) -> Condition:
        """Takes the first condition that no other process is at; waits until there is one."""
        told = False
        while True:
            for condition in left:
                path = self.folder / condition.name
                path.mkdir(parents=True, exist_ok=True)
                (path / LOCK).touch()
                lock = Lock(path / LOCK)
                if lock.take():
                    self._locks[condition] = lock
                    return condition
            if not told:
                names = listed([condition.name for condition in left])
                log.info(f"Waiting for {names}, where other processes are.")
                told = True
            time.sleep(POLL)  # they may be killed, and theirs be left

    def results(self) -> list[ConditionResult]:
        """Reads all results in the folder, of this comparison and others.

        Raises:
            RunError: if a result is broken.
        """
        settings, algorithms = list(SETTINGS), list(ALGORITHMS)

        def place(result: ConditionResult) -> tuple[int, str, int, str]:
            setting, backbone, algorithm, recipe = astuple(result.condition)
            return settings.index(setting), backbone, algorithms.index(algorithm), recipe

        return sorted(map(read_result, sorted(self.folder.glob(f"*/{RESULT}"))), key=place)

    def _test_tasks(self, experiment: Experiment) -> Tasks:
        paper = PROTOCOLS[self._protocol]
        queries = experiment.settings.shots if paper.queries == 0 else paper.queries
        return experiment.tasks("test", queries=queries, rotated=paper.rotated, seed=0)

    def _is_trained(self, condition: Condition) -> bool:
        last = RunFolder(self.folder / condition.name).last
        done = last.is_file() and load_checkpoint(last).iteration
        return done == self.settings[condition].iterations

    def _is_evaluated(self, path: Path) -> bool:
        """Returns whether the result of a whole training is there, of the tasks asked for."""
        if not path.is_file():
            return False
        result = read_result(path)
        asked = self._tasks, self._protocol
        whole = result.iteration == result.settings.iterations
        return whole and (result.evaluation.tasks, result.protocol) == asked

    def _run(self, condition: Condition, settings: Settings, minutes: float | None) -> float:
        """Trains and evaluates a condition; returns the minutes of training this time."""
        run_folder = RunFolder(self.folder / condition.name)
        resume, path = run_folder.config.exists(), run_folder.path
        if resume and run_folder.read_settings() != settings:
            raise RunError(f"{path}: holds a run with other settings; expected another folder")
        experiment = self._build(settings)
        run = TrainingRun(experiment, run_folder)
        run.begin(resume=resume)
        before, result_path = run.minutes, path / RESULT
        if run.trainer.iteration < settings.iterations:
            if self._train(run, minutes).reason == "stopped":
                raise Stopped
        else:
            run_folder.unlock()  # which a training does at its end
            if self._is_evaluated(result_path):
                return 0.0
        spent = run.minutes - before
        best = find_weights(path)
        write_learner(experiment.learner, best)
        learner, tasks = experiment.learner, self._test_tasks(experiment)
        with self._counting(self._tasks) as progress:
            evaluation = evaluate(
                learner, tasks, self._tasks, settings.eval_steps, progress, batch_norm="both"
            )
        reached = run.trainer.iteration, best.iteration, run.minutes
        result = ConditionResult(condition, settings, self._protocol, *reached, evaluation)
        write_text(result_path, json.dumps(result.to_dict(), indent=1) + "\n")
        return spent
