"""What goes to stderr: messages at the level asked for, and the progress of the work."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import click

from l2l_omniglot._util.process import launched
from l2l_omniglot._util.text import decimal, fold, printable, shown

if TYPE_CHECKING:
    from l2l_omniglot.experiments.metrics import MetricsRow
    from l2l_omniglot.meta.trainer import StepResult

log = logging.getLogger("l2l_omniglot")
QUIET, NORMAL, VERBOSE = logging.WARNING, logging.INFO, logging.DEBUG
SMOOTHING = 0.02
SECONDS_A_LINE = 10.0
SECONDS_WITHOUT_A_LINE = 60.0  # of a training, after the first
LONGEST_NAME = 40  # before a bar
COUNTED = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
TRAINING = "|{bar}| {n_fmt}/{total_fmt}{postfix}, {remaining} left"  # of which 80 columns are full

INTERRUPTED = "^C"  # what a terminal writes at the cursor

bold = partial(click.style, bold=True)


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo_error(self.format(record))


def open_console() -> None:
    """Prints the package's log on stderr, at the normal level until an option sets another.

    Of several workers only the first prints it.
    """
    first = not launched() or os.environ["RANK"] == "0"
    log.handlers = [_Stderr() if first else logging.NullHandler()]
    log.setLevel(NORMAL)


def echo_error(line: str) -> None:
    """Prints a line on stderr, even if quiet: why the program ends, for example."""
    click.echo(in_width(printable(line), sys.stderr), err=True, color=wants_colour())


def say(text: str) -> None:
    """Prints a result that people read on stdout."""
    click.echo(in_width(printable(text), sys.stdout))


def echo_data(text: str) -> None:
    """Prints a result that programs read on stdout; on a terminal names are made safe."""
    lines = text.split("\n")
    click.echo("\n".join(map(shown, lines)) if sys.stdout.isatty() else text)


def in_width(text: str, stream: IO[str]) -> str:
    """Folds a text to the width of the terminal that a stream is; else it stays as it is."""
    width = width_of(stream)
    return fold(text, width) if width else text


def width_of(stream: IO[str]) -> int:
    """Returns the columns of the terminal that a stream is; 0 where it is none or does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):  # closed, or a stream of a library's
        return 0


def wants_colour() -> bool | None:
    """Returns whether the environment asks for colours or forbids them; None: on a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    wishes = (os.environ.get("FORCE_COLOR"), os.environ.get("CLICOLOR_FORCE"))
    if any(wish not in {None, "", "0"} for wish in wishes):
        return True
    plain = os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb"
    return False if plain else None


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says, if verbose, how many seconds the block took."""
    start = time.monotonic()
    yield
    log.debug(f"{what} took {time.monotonic() - start:.1f} s.")


def _bar(form: str, total: int | None, start: int = 0) -> Any:
    """Returns a tqdm bar on stderr, of the form; None if quiet, or on no terminal."""
    if not (log.isEnabledFor(NORMAL) and sys.stderr.isatty()):
        return None
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        """A bar that leaves room for the ^C of a terminal, which a full line would break."""

        @property
        def format_dict(self) -> dict[str, Any]:
            """Returns what the bar is formatted with."""
            fields = dict(super().format_dict)
            columns = fields["ncols"]
            return fields | {"ncols": columns and max(1, columns - len(INTERRUPTED))}

    return Bar(total=total, initial=start, dynamic_ncols=True, bar_format=form)


def _close(bar: Any) -> None:
    """Closes a bar, without the ^C that a terminal has perhaps written behind it."""
    bar.refresh()
    print("\x1b[K", end="", file=sys.stderr)
    bar.close()


def _counted(what: str) -> str:
    """Returns the form of a bar that counts; a long name leaves room for the figures."""
    short = what if len(what) <= LONGEST_NAME else f"{what[: LONGEST_NAME - 3]}..."
    braces = short.replace("{", "{{").replace("}", "}}")
    return f"{braces}: {COUNTED}"


@contextmanager
def counting(what: str, unit: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Shows the progress of a count: a bar, or on no terminal a line every ten seconds.

    Inside the block call what it gives with (done, in all), or with (done) when `total` is given.
    """
    bar: Any = None
    line_at = time.monotonic() + SECONDS_A_LINE

    def count(done: int, total: int | None = total) -> None:
        nonlocal bar, line_at
        if bar is None:
            bar = _bar(_counted(what), total)
        if bar is not None:
            bar.update(done - bar.n)
        elif time.monotonic() >= line_at:
            log.info(f"{what}: {done} of {total} {unit}s")
            line_at = time.monotonic() + SECONDS_A_LINE

    try:
        yield count
    finally:
        if bar is not None:
            _close(bar)


class TrainingProgress:
    """Loss, accuracy, tasks per second and time left of a training run.

    A bar, or on no terminal a line after ten seconds and then at least one a minute.

    Args:
        iterations: in all.
        meta_batch_size: tasks per iteration.
    """

    def __init__(self, iterations: int, meta_batch_size: int) -> None:
        self._iterations, self._meta_batch_size = iterations, meta_batch_size
        self._averages: tuple[float, float] | None = None  # of loss and accuracy

    @contextmanager
    def watching(self, start: int) -> Iterator[None]:
        """Shows the bar inside the block; `start` iterations were made before."""
        self._start, self._begun = start, time.monotonic()
        self._line_at = self._begun + SECONDS_A_LINE
        self._bar = _bar(TRAINING, self._iterations, start)
        try:
            yield
        finally:
            if self._bar is not None:
                _close(self._bar)

    def on_step(self, result: StepResult) -> None:
        """Moves the bar; its loss and accuracy are running averages."""
        loss, accuracy = self._averages or (result.loss, result.accuracy)
        loss += SMOOTHING * (result.loss - loss)
        accuracy += SMOOTHING * (result.accuracy - accuracy)
        self._averages = loss, accuracy
        speed = self._meta_batch_size / max(1e-9, self._seconds_each(result.iteration))
        recent = f"loss {decimal(loss, 3)}, accuracy {accuracy:.1%}, {speed:.0f} tasks/s"
        if self._bar is not None:
            self._bar.set_postfix_str(recent, refresh=False)
            self._bar.update(1)
        elif time.monotonic() >= self._line_at:
            self._print(result.iteration, recent)

    def on_log(self, row: MetricsRow) -> None:
        """Shows nothing: the bar has newer figures."""

    def on_validation(self, row: MetricsRow, best: bool) -> None:
        """Prints one line per validation, above the bar where there is one, which has the rest."""
        mark = click.style(" (best)", fg="green", bold=True) if best else ""
        if not math.isfinite(row.validation_loss):
            mark = click.style(" (diverged)", fg="red", bold=True)
        text = (
            f"loss {decimal(row.train_loss, 3)}  train {row.train_accuracy:.1%}  "
            f"validation {row.validation_accuracy:.1%} ± {row.validation_ci95:.1%}"
            f"{mark}"
        )
        left = (self._iterations - row.iteration) * self._seconds_each(row.iteration) / 60
        if self._bar is None:
            text += f"  {row.tasks_per_second:.0f} tasks/s  {row.minutes:.1f} min, {left:.1f} left"
        self._print(row.iteration, text)

    def _print(self, iteration: int, text: str) -> None:
        bar = self._bar
        with nullcontext() if bar is None else bar.external_write_mode(file=sys.stderr):
            log.info(f"iteration {iteration}/{self._iterations}  {text}")
        self._line_at = time.monotonic() + SECONDS_WITHOUT_A_LINE

    def _seconds_each(self, iteration: int) -> float:
        return (time.monotonic() - self._begun) / max(1, iteration - self._start)
