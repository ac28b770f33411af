"""A grid of settings, backbones and algorithms, trained, evaluated, beside published figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from l2l_omniglot.cells import SETTINGS, Cell, CellResult, read_result, write_results
from l2l_omniglot.checkpoint import load_checkpoint
from l2l_omniglot.errors import RunError, TrainingError
from l2l_omniglot.evaluation import Evaluation, evaluate
from l2l_omniglot.experiment import Experiment, write_learner
from l2l_omniglot.files import write_text
from l2l_omniglot.run import RunFolder
from l2l_omniglot.settings import ALGORITHMS, Settings
from l2l_omniglot.tasks import Tasks
from l2l_omniglot.training import Observer, Outcome, TrainingRun

RESULT = "result.json"


class Watcher(Protocol):
    """Is told what the grid does."""

    def begins(self, cell: Cell, settings: Settings) -> None:
        """Before a cell."""

    def observer(self, settings: Settings) -> Observer:
        """Of a cell's training."""

    def train(self, run: TrainingRun, minutes: float | None) -> Outcome:
        """Has the run train, e.g. with a way to stop it."""

    def evaluating(self, count: int) -> AbstractContextManager[Callable[[int], None]]:
        """Around an evaluation, which tells how many tasks are done."""


class Stopped(Exception):  # noqa: N818 - no error
    """A training was asked to stop."""


class Grid:
    """Cells and the folder of their runs.

    Args:
        cells: see `grid`.
        build: makes the experiment of a cell's settings.
        folder: of a run folder for each cell, and of the results.
        tasks: test tasks a cell, always the same ones.
        watcher: is told what happens.
        values: of `Settings` that all cells have, e.g. ``iterations``.

    Raises:
        L2LOmniglotError: if a cell cannot be built, or its test part is too small.
    """

    def __init__(
        self,
        cells: list[Cell],
        build: Callable[[Settings], Experiment],
        folder: Path,
        tasks: int,
        watcher: Watcher,
        **values: Any,
    ) -> None:
        self.settings = {cell: cell.settings(**values) for cell in cells}
        self._build, self.folder, self._tasks, self._watcher = build, folder, tasks, watcher
        for settings in self.settings.values():  # refused now, not after hours of training
            self._test_tasks(build(settings))

    def run(self, minutes: float | None = None) -> list[TrainingError]:
        """Trains and evaluates every cell, and writes the results after each.

        Args:
            minutes: of training in all, shared out evenly among the cells that need some.

        Returns:
            The errors of the trainings that failed; the other cells are made all the same.

        Raises:
            Stopped: if a training was asked to stop.
            RunError: if a folder holds a run with other settings.
        """
        waiting = [cell for cell in self.settings if not self._is_trained(cell)]
        spent = 0.0
        errors: list[TrainingError] = []
        for cell, settings in self.settings.items():
            self._watcher.begins(cell, settings)
            share = None
            if minutes is not None and cell in waiting:
                share = max(minutes - spent, 1e-3) / (len(waiting) - waiting.index(cell))
            try:
                spent += self._run_cell(cell, settings, share)
            except TrainingError as error:
                errors.append(TrainingError(f"{cell.name}: {error}"))
            results = self.results()
            if results:
                write_results(results, self.folder)
        return errors

    def results(self) -> list[CellResult]:
        """Of all cells in the folder, this grid's and others'.

        Raises:
            RunError: if a result is broken.
        """
        found = [read_result(path) for path in sorted(self.folder.glob(f"*/{RESULT}"))]
        settings, algorithms = list(SETTINGS), list(ALGORITHMS)

        def place(result: CellResult) -> tuple[int, str, int]:
            cell = result.cell
            number = algorithms.index(cell.algorithm)
            return settings.index(cell.setting), cell.backbone, number

        return sorted(found, key=place)

    def _is_trained(self, cell: Cell) -> bool:
        last = RunFolder(self.folder / cell.name).last
        done = last.is_file() and load_checkpoint(last).iteration
        return done == self.settings[cell].iterations

    def _run_cell(self, cell: Cell, settings: Settings, minutes: float | None) -> float:
        """Trains and evaluates a cell; minutes of training this time."""
        run_folder = RunFolder(self.folder / cell.name)
        there = run_folder.config.exists()
        if there and run_folder.read_settings() != settings:
            raise RunError(
                f"{run_folder.path}: holds a run with other settings; needed another --out"
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
        result = CellResult(cell, settings, run.trainer.iteration, best, run.minutes, evaluation)
        write_text(result_path, json.dumps(result.to_dict(), indent=1) + "\n")
        return spent

    def _is_evaluated(self, path: Path) -> bool:
        if not path.is_file():
            return False
        result = read_result(path)
        done = result.iteration == result.settings.iterations
        return done and result.evaluation.tasks == self._tasks

    def _evaluate(self, experiment: Experiment, run_folder: RunFolder) -> tuple[int, Evaluation]:
        """The iteration of the best weights, and what they give."""
        best = run_folder.best if run_folder.best.is_file() else run_folder.last
        checkpoint = load_checkpoint(best)
        write_learner(experiment.learner, checkpoint)
        steps = experiment.settings.eval_steps
        with self._watcher.evaluating(self._tasks) as progress:
            evaluation = evaluate(
                experiment.learner, self._test_tasks(experiment), self._tasks, steps, progress,
                batch_norm="both",
            )  # fmt: skip
        return checkpoint.iteration, evaluation

    def _test_tasks(self, experiment: Experiment) -> Tasks:
        """As `evaluate` of the command line has them by default."""
        return experiment.tasks("test", seed=0)
