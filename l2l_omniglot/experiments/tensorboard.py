"""TensorBoard's event files in a run folder (extra ``tensorboard``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l2l_omniglot._util.text import markdown
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.meta.trainer import StepResult

EVENTS = "events.out.tfevents.*"
VALIDATION = "accuracy/validation"


def has_events(folder: Path) -> bool:
    """Returns whether a run has event files already."""
    return any(folder.glob(EVENTS))


class EventWriter:
    """Writes the lines of metrics as events: an observer of a training run.

    Use it as a context manager. In a folder with event files it continues them: events from the
    last of `rows` on are replaced, since they may be missing, or come from updates that are made
    again.

    The settings are written once, as text and as hyperparameters; `rows` are those of
    ``metrics.csv`` so far.
    """

    def __init__(self, folder: Path, settings: Settings, rows: Sequence[MetricsRow]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = None
        if resumed := has_events(folder):
            rows = rows[-1:]
            purge = rows[0].iteration if rows else 1
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge)
        if not resumed:
            self._describe(settings)
        for row in rows:
            self._write(row)
        self._writer.flush()

    def on_step(self, result: StepResult) -> None:
        """Writes nothing: a single update's figures are mostly noise."""

    def on_log(self, row: MetricsRow) -> None:
        """Writes the figures of the training immediately."""
        self._write(row)
        self._writer.flush()

    def on_validation(self, row: MetricsRow, best: bool) -> None:  # noqa: ARG002 - as observers have it
        """Writes a validation immediately."""
        self.on_log(row)

    def _describe(self, settings: Settings) -> None:
        from torch.utils.tensorboard.summary import hparams

        values = settings.to_dict()
        rows = [(name.replace("_", " "), f"`{value}`") for name, value in values.items()]
        self._writer.add_text("settings", markdown(("setting", "value"), rows), 0)
        for summary in hparams(values, {VALIDATION: 0.0}):
            self._writer.file_writer.add_summary(summary)

    def _write(self, row: MetricsRow) -> None:
        accuracy, half = row.validation_accuracy, row.validation_ci95
        figures = {
            "loss/train": row.train_loss,
            "accuracy/train": row.train_accuracy,
            "training/meta_lr": row.meta_lr,
            "training/tasks_per_second": row.tasks_per_second,
        }
        if row.validated:
            figures |= {
                "loss/validation": row.validation_loss,
                VALIDATION: accuracy,
                f"{VALIDATION}_lower": accuracy - half,
                f"{VALIDATION}_upper": accuracy + half,
            }
        for tag, value in figures.items():
            self._writer.add_scalar(tag, value, row.iteration)

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
