"""What goes to stderr: messages as loud as asked for, and how far the work has come."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from l2l_omniglot.experiments.run_folder import MetricsRow
    from l2l_omniglot.meta.trainer import StepResult

log = logging.getLogger("l2l_omniglot")
QUIET, NORMAL, VERBOSE = logging.WARNING, logging.INFO, logging.DEBUG


class _Stderr(logging.Handler):
    """Prints every record as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        echo_error(self.format(record))


def open_console() -> None:
    """Has the package's log printed, as loud as usual until an option says otherwise."""
    log.handlers = [_Stderr()]
    log.setLevel(NORMAL)


def echo_error(line: str) -> None:
    """Prints a line on stderr, even if quiet: why the program ends, for example."""
    click.echo(line, err=True, color=wants_colour())


def wants_colour() -> bool | None:
    """Whether the environment asks for colours or forbids them; None: on a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    wishes = (os.environ.get("FORCE_COLOR"), os.environ.get("CLICOLOR_FORCE"))
    if any(wish not in {None, "", "0"} for wish in wishes):
        return True
    plain = os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb"
    return False if plain else None


def bold(text: str) -> str:
    """The text so that it stands out, where there are colours."""
    return click.style(text, bold=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says, if verbose, how many seconds the block took."""
    start = time.monotonic()
    yield
    log.debug(f"{what} took {time.monotonic() - start:.1f} s.")


def _shows_bars() -> bool:
    """Whether bars are drawn: on a terminal, unless quiet."""
    return log.isEnabledFor(NORMAL) and sys.stderr.isatty()


SMOOTHING = 0.02
SECONDS_A_LINE = 10.0
SECONDS_WITHOUT_A_LINE = 60.0  # of a training, after the first


@contextmanager
def counting(what: str, unit: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Shows how far a count has come: a bar, or on no terminal a line every ten seconds.

    Inside the block call what it gives with (done, in all), or with (done) when `total` is given.
    """
    bar: Any = None
    line_at = time.monotonic() + SECONDS_A_LINE

    def count(done: int, total: int | None = total) -> None:
        nonlocal bar, line_at
        if _shows_bars():
            if bar is None:
                bar = _make_bar(what, unit, total, 0)
            bar.update(done - bar.n)
        elif time.monotonic() >= line_at:
            log.info(f"{what}: {done} of {total} {unit}s")
            line_at = time.monotonic() + SECONDS_A_LINE

    try:
        yield count
    finally:
        if bar is not None:
            bar.close()


class TrainingProgress:
    """Loss, accuracy, tasks a second and time left of a training run.

    A bar, or on no terminal a line after ten seconds and then at least one a minute.

    Args:
        iterations: in all.
        meta_batch_size: tasks an iteration.
    """

    def __init__(self, iterations: int, meta_batch_size: int) -> None:
        self._iterations, self._meta_batch_size = iterations, meta_batch_size
        self._loss: float | None = None
        self._accuracy = 0.0
        self._start, self._begun = 0, time.monotonic()
        self._bar: Any = None
        self._line_at = self._begun + SECONDS_A_LINE

    @contextmanager
    def watching(self, start: int) -> Iterator[None]:
        """Shows the bar inside the block; `start` iterations were made before."""
        self._start, self._begun = start, time.monotonic()
        self._line_at = self._begun + SECONDS_A_LINE
        if _shows_bars():
            self._bar = _make_bar("training", "iteration", self._iterations, start)
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.close()

    def stepped(self, result: StepResult) -> None:
        """Moves the bar; its loss and accuracy are running averages."""
        if self._loss is None:
            self._loss, self._accuracy = result.loss, result.accuracy
        self._loss += SMOOTHING * (result.loss - self._loss)
        self._accuracy += SMOOTHING * (result.accuracy - self._accuracy)
        if self._bar is not None:
            self._bar.set_postfix_str(self._recent(result.iteration), refresh=False)
            self._bar.update(1)
        elif time.monotonic() >= self._line_at:
            recent = self._recent(result.iteration)
            self._say(f"iteration {result.iteration}/{self._iterations}  {recent}")

    def validated(self, row: MetricsRow, best: bool) -> None:
        """Writes one line a validation, above the bar where there is one."""
        left = (self._iterations - row.iteration) * self._seconds_an_iteration(row.iteration) / 60
        mark = click.style(" (best)", fg="green", bold=True) if best else ""
        line = (
            f"iteration {row.iteration}/{self._iterations}  "
            f"train loss {row.train_loss:.3f} accuracy {row.train_accuracy:.1%}  "
            f"validation accuracy {row.validation_accuracy:.1%} ± {row.validation_ci95:.1%}"
            f"{mark}  {row.tasks_per_second:.0f} tasks/s  "
            f"{row.minutes:.1f} min, {left:.1f} left"
        )
        if self._bar is not None:
            with self._bar.external_write_mode(file=sys.stderr):
                log.info(line)
        else:
            self._say(line)

    def _say(self, line: str) -> None:
        log.info(line)
        self._line_at = time.monotonic() + SECONDS_WITHOUT_A_LINE

    def _recent(self, iteration: int) -> str:
        speed = self._tasks_per_second(iteration)
        return f"loss {self._loss:.3f}, accuracy {self._accuracy:.1%}, {speed:.0f} tasks/s"

    def _seconds_an_iteration(self, iteration: int) -> float:
        return (time.monotonic() - self._begun) / max(1, iteration - self._start)

    def _tasks_per_second(self, iteration: int) -> float:
        return self._meta_batch_size / max(1e-9, self._seconds_an_iteration(iteration))


def _make_bar(what: str, unit: str, total: int | None, start: int) -> Any:
    """A tqdm bar on stderr."""
    from tqdm import tqdm

    return tqdm(desc=what, unit=unit, total=total, initial=start, dynamic_ncols=True)
