"""Messages on stderr, and how many of them: the whole program is quiet, normal or verbose."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Verbosity(enum.IntEnum):
    """How much is said beside results and errors."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


_chosen = [Verbosity.NORMAL]


def set_verbosity(verbosity: Verbosity) -> None:
    """Says how much is said from now on, in this process."""
    _chosen[0] = verbosity


def verbosity() -> Verbosity:
    """How much is said."""
    return _chosen[0]


def counted(number: int, what: str) -> str:
    """A number and what it counts: 1 step, 5 steps."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def tell(line: str) -> None:
    """Writes a line that belongs to the outcome, such as why the program ends: even if quiet."""
    print(line, file=sys.stderr, flush=True)


def say(line: str) -> None:
    """Writes a line of progress, or a note: unless quiet."""
    if verbosity() >= Verbosity.NORMAL:
        tell(line)


def detail(line: str) -> None:
    """Writes a line for those who want to know more: if verbose."""
    if verbosity() >= Verbosity.VERBOSE:
        tell(line)


def shows_progress() -> bool:
    """Whether bars are drawn: on a terminal, unless quiet."""
    return verbosity() >= Verbosity.NORMAL and sys.stderr.isatty()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says, if verbose, how many seconds the block took."""
    start = time.monotonic()
    yield
    detail(f"{what} took {time.monotonic() - start:.1f} s.")
