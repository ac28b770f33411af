"""Metrics of a training: the lines of ``metrics.csv``, and when there is a new one."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.reading import MOST_METRICS, UnreadableError, read_bytes
from l2l_omniglot._util.text import csv_text
from l2l_omniglot.errors import RunError

if TYPE_CHECKING:
    from l2l_omniglot.meta.trainer import StepResult

LEAST_SECONDS = 1.0  # of training between two lines
LINES = 100  # the time between two grows with the training: so many make up all of it until then
_VALIDATION = ("validation_loss", "validation_accuracy", "validation_ci95")


@dataclass(frozen=True)
class MetricsRow:
    """One line of ``metrics.csv``: the training since the previous line, and a validation if any.

    Accuracies are fractions in [0, 1], losses nats; `minutes` is training and validation time,
    including earlier sessions. Where there was no validation, its three figures are NaN, and empty
    in the file.
    """

    iteration: int
    minutes: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_ci95: float
    tasks_per_second: float
    meta_lr: float

    @property
    def validated(self) -> bool:
        """Returns whether there was a validation; its loss may be NaN, its accuracy never is."""
        return not math.isnan(self.validation_accuracy)


def read_rows(path: Path) -> list[MetricsRow]:
    """Reads ``metrics.csv``; skips lines that are broken, such as the last after a kill.

    Raises:
        RunError: if it cannot be read at all.
    """
    if not path.exists():
        return []
    rows = []
    try:
        lines = read_bytes(path, MOST_METRICS).decode("utf-8", errors="replace").splitlines()
        entries = list(csv.DictReader(line.replace("\0", "") for line in lines))
    except (OSError, UnreadableError, csv.Error) as error:
        raise RunError(f"{path}: not readable metrics: {error}") from error
    for entry in entries:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            iteration = int(entry.pop("iteration"))
            values = {name: _number(name, value) for name, value in entry.items()}
            rows.append(MetricsRow(iteration=iteration, **values))
    return rows


def _number(name: str, value: str) -> float:
    return math.nan if name in _VALIDATION and value == "" else float(value)


def write_rows(path: Path, rows: list[MetricsRow]) -> None:
    """Writes ``metrics.csv`` whole, atomically."""
    entries = []
    for row in rows:
        entry = dataclasses.asdict(row)
        entries.append(entry if row.validated else entry | dict.fromkeys(_VALIDATION, ""))
    names = [field.name for field in dataclasses.fields(MetricsRow)]
    write_text(path, csv_text(names, entries))


class TrainingFigures(NamedTuple):
    """Means over some updates in a row: loss in nats, accuracy in [0, 1], and their speed."""

    loss: float
    accuracy: float
    tasks_per_second: float


@dataclass
class _Span:
    results: list[StepResult] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class Meter:
    """Averages the updates since the previous line of metrics, and says when one is due.

    A line that comes early, with a validation, averages over the span before its own as well: the
    figures of a few updates are mostly noise.

    Args:
        tasks: of an update.
    """

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._span, self._before = _Span(), _Span()
        self.go_on()

    def go_on(self) -> None:
        """Begins to count time, after what is no training."""
        self._start = time.monotonic()

    def add(self, result: StepResult) -> None:
        """Counts an update that was just made."""
        now = time.monotonic()
        self._span.results.append(result)
        self._span.seconds += now - self._start
        self._start = now

    def is_due(self, minutes: float) -> bool:
        """Returns whether a line is due; the run has taken so many minutes."""
        return self._span.seconds >= _least(minutes)

    def take(self, minutes: float) -> TrainingFigures:
        """Returns the figures of a line, and begins the next one's."""
        span, before = self._span, self._before
        if span.seconds < _least(minutes) / 2:
            span = _Span(before.results + span.results, before.seconds + span.seconds)
        self._before, self._span = self._span, _Span()
        count = len(span.results)
        if not count:  # all of them were skipped
            return TrainingFigures(math.nan, math.nan, 0.0)
        return TrainingFigures(
            math.fsum(result.loss for result in span.results) / count,
            math.fsum(result.accuracy for result in span.results) / count,
            count * self._tasks / span.seconds if span.seconds else 0.0,
        )


def _least(minutes: float) -> float:
    """Returns the seconds of training before another line."""
    return max(LEAST_SECONDS, 60 * minutes / LINES)
