"""A training run: updates, validation at intervals, metrics, checkpoints, clean stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from l2l_omniglot._util.files import sha256
from l2l_omniglot.backbones import MEASURED
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import RunError, TrainingError, refused
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.learners import load_resized, write_learner
from l2l_omniglot.experiments.metrics import Meter, MetricsRow, TrainingFigures
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.trainer import StepResult, Trainer

SECONDS = 300.0  # of training, at most, between two checkpoints


class Observer(Protocol):
    """Watches a training run, e.g. to show its progress, or to log it elsewhere.

    Of several workers all have observers called, but only the first's `on_log`.
    """

    def on_step(self, result: StepResult) -> None:
        """Called after every update."""

    def on_log(self, row: MetricsRow) -> None:
        """Called after a new line of metrics without a validation, every few seconds."""

    def on_validation(self, row: MetricsRow, best: bool) -> None:
        """Called after every validation; `best` says if it is the best so far."""


@dataclass(frozen=True)
class Outcome:
    """How a training run ended."""

    reason: str  # finished (all iterations), time (the limit) or stopped (on request)
    iteration: int  # meta-updates made, including earlier sessions
    best: float | None  # best validation accuracy so far, in [0, 1]; None before the first


class TrainingRun:
    """Trains an experiment into a run folder.

    ``last.safetensors`` is written at every validation and every stop, and at least every
    `SECONDS` of training: a killed run only loses the updates since. The one before is kept, too,
    in case the last is damaged. ``best.safetensors`` has the weights of the best validation.

    Args:
        experiment: what is trained.
        folder: where to write. Of several workers only the first writes.
        observers: notified of every update and validation, in order.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, *observers: Observer) -> None:
        self.experiment, self.folder, self.observers = experiment, folder, [*observers]
        self.trainer: Trainer = experiment.trainer()
        self.validation: Tasks = experiment.tasks("validation")
        self.rows: list[MetricsRow] = []
        self.best: float | None = None
        self._meter = Meter(experiment.settings.meta_batch_size)
        self._started = time.monotonic()
        self._minutes_before = 0.0
        self._saved = time.monotonic()

    def begin(self, resume: bool) -> None:
        """Makes the run folder, or continues the run in it.

        Raises:
            RunError, SettingsError: as `restore`; if the folder holds a run that is not to be
                resumed, or that another process trains; or if there are no weights `start_from`.
        """
        try:
            self._begin(resume)
        except BaseException:
            self.folder.unlock()
            raise

    def _begin(self, resume: bool) -> None:
        workers, settings = self.experiment.workers, self.experiment.settings
        if workers.first and self.folder.path.is_dir():
            self.folder.lock()
        resumed = resume and workers.from_first(self.folder.config.exists())
        if resumed:
            self.restore()
        start = {}
        if settings.start_from and not self.trainer.iteration:
            start["start_sha256"] = self._start()
        known = self.experiment.learner.population is not None
        if settings.train_statistics in MEASURED and not known:
            self.experiment.measure_population()
        if workers.first and resumed:
            self.folder.reopen(settings)
        elif workers.first:
            self.folder.create(settings, self.experiment.facts() | start)
            self.folder.lock()

    def _start(self) -> str:
        """Loads the weights `start_from`; returns the digest of their file."""
        experiment, workers = self.experiment, self.experiment.workers
        loaded = find_weights(experiment.settings.start_from) if workers.first else None
        checkpoint = workers.from_first(loaded)
        assert checkpoint is not None  # the first found it
        experiment.check_start(checkpoint)
        load_resized(experiment.learner, checkpoint)
        return sha256(Path(checkpoint.source)) if workers.first else ""

    def restore(self) -> None:
        """Continues from ``last.safetensors``; a run killed before the first starts again.

        Raises:
            RunError: if it is broken, or data or split differ from those of the run.
            SettingsError: if it has more iterations than the settings allow.
        """
        workers = self.experiment.workers
        saved = workers.from_first(self._read() if workers.first else None)
        if saved is None:
            return
        checkpoint, self.rows = saved
        write_learner(self.experiment.learner, checkpoint)
        skipped = checkpoint.facts.get("skipped_updates", 0)
        self.trainer.restore(checkpoint.iteration, checkpoint.optimizer, skipped)
        self.best = checkpoint.facts.get("best_validation_accuracy")
        self._minutes_before = checkpoint.facts.get("minutes", 0.0)

    def _read(self) -> tuple[Checkpoint, list[MetricsRow]] | None:
        """Reads the last checkpoint and the metrics until then; None if there is none yet."""
        checkpoint = self.folder.read_last()
        if checkpoint is None:
            return None
        if difference := self.experiment.difference(checkpoint.facts):
            raise RunError(f"{self.folder.path}: cannot be resumed: {difference}")
        iterations = self.experiment.settings.iterations
        if checkpoint.iteration > iterations:
            made = f"{self.folder.path} has made {checkpoint.iteration}"
            raise refused("iterations", iterations, f"{made}; expected at least as many")
        # Lines after the checkpoint come from updates that will be made again.
        rows = self.folder.read_metrics()
        return checkpoint, [row for row in rows if row.iteration <= checkpoint.iteration]

    def train(
        self, minutes: float | None = None, should_stop: Callable[[], bool] = lambda: False
    ) -> Outcome:
        """Trains until the iterations are done, time is up, or a stop is requested.

        Args:
            minutes: limit of this call; when it is reached, a last validation is made.
            should_stop: called after every update.

        Raises:
            TrainingError: if the training has diverged: an update, or every validation so far, has
                a loss that is not finite.
        """
        try:
            return self._train(minutes, should_stop)
        finally:
            self.folder.unlock()

    def _train(self, minutes: float | None, should_stop: Callable[[], bool]) -> Outcome:
        settings = self.experiment.settings
        self._started = self._saved = time.monotonic()
        self._meter.go_on()
        while self.trainer.iteration < settings.iterations:
            result = self._step()
            # Workers must agree on when to stop.
            timed_out, stopped = self.experiment.workers.any(
                minutes is not None and self._session_minutes() >= minutes, should_stop()
            )
            at_end = result.iteration == settings.iterations
            if timed_out or at_end or result.iteration % settings.validation_every == 0:
                with self.trainer.averaged():
                    row, best = self._validate()
                self._save(self.folder.last)
                for observer in self.observers:
                    observer.on_validation(row, best)
                self._meter.go_on()
            elif stopped or self._meter.is_due(self.minutes):
                self._measure()
                if stopped:
                    self._save(self.folder.last)
            if time.monotonic() - self._saved >= SECONDS:
                self._save(self.folder.last)
            if timed_out and not at_end:
                return Outcome("time", self.trainer.iteration, self._best())
            if stopped and not at_end:
                return Outcome("stopped", self.trainer.iteration, self.best)
        return Outcome("finished", self.trainer.iteration, self._best())

    def _step(self) -> StepResult:
        """Makes an update; before a bad one that ends the training, what is good is saved."""
        try:
            result = self.trainer.step()
        except TrainingError:
            self._save(self.folder.last)
            raise
        if not result.skipped:
            self._meter.add(result)
            for observer in self.observers:
                observer.on_step(result)
        return result

    def _best(self) -> float:
        """Returns the best validation accuracy of a training that is over.

        Raises:
            TrainingError: if there is none.
        """
        if self.best is None:
            settings = self.experiment.settings
            raise TrainingError(
                f"the training has diverged: at iteration {self.trainer.iteration} no validation "
                f"has had a finite loss; a smaller --inner-lr (now {settings.inner_lr:g}) or "
                f"--meta-lr (now {settings.meta_lr:g}) may help"
            )
        return self.best

    def _measure(self) -> None:
        """Writes a line of metrics without a validation."""
        if not self.experiment.workers.first:
            return
        row = self._write_row(self._meter.take(self.minutes), (math.nan, math.nan, math.nan))
        for observer in self.observers:
            observer.on_log(row)

    def _write_row(
        self, trained: TrainingFigures, validation: tuple[float, float, float]
    ) -> MetricsRow:
        """Adds a line of metrics, with loss, accuracy and interval of a validation."""
        row = MetricsRow(
            self.trainer.iteration,
            round(self.minutes, 3),
            trained.loss,
            trained.accuracy,
            *validation,
            round(trained.tasks_per_second, 2),
            self.trainer.optimizer.param_groups[0]["lr"],
        )
        self.rows.append(row)
        if self.experiment.workers.first:
            self.folder.write_metrics(self.rows)
        return row

    def _validate(self) -> tuple[MetricsRow, bool]:
        """Validates the present weights; returns the new row, and whether it is the best so far."""
        experiment, trained = self.experiment, self._meter.take(self.minutes)
        count, steps = experiment.settings.validation_tasks, experiment.settings.eval_steps
        learner, workers = experiment.learner, experiment.workers
        experiment.measure_population()
        mode = experiment.settings.validation_batch_norm
        result = evaluate(learner, self.validation, count, steps, workers=workers, batch_norm=mode)
        row = self._write_row(trained, (result.loss, result.accuracy, result.ci95))
        best = math.isfinite(result.loss) and (self.best is None or result.accuracy > self.best)
        if best:
            self.best = result.accuracy
            self._save(self.folder.best, resumable=False)
        return row, best

    def _save(self, path: Path, resumable: bool = True) -> None:
        if not self.experiment.workers.first:
            return
        facts = self.experiment.facts()
        facts |= {"best_validation_accuracy": self.best, "minutes": self.minutes}
        if self.trainer.skipped:
            facts["skipped_updates"] = self.trainer.skipped
        if path == self.folder.last:
            self.folder.keep_last()
            self._saved = time.monotonic()
        self.experiment.checkpoint(self.trainer, facts, resumable).save(path)

    @property
    def minutes(self) -> float:
        """Returns the minutes of training and validation so far, including earlier sessions."""
        return self._minutes_before + self._session_minutes()

    def _session_minutes(self) -> float:
        """Returns those of this session."""
        return (time.monotonic() - self._started) / 60
