"""The family of errors, each with its exit code, and checks of arguments.

They are no `click.ClickException`, so that the library does not load click.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable


class L2LOmniglotError(Exception):
    """Base class of every error that this package raises on purpose.

    Args:
        why: what is wrong; the whole text, unless an argument is refused.
        argument: name of the argument whose value is refused, if any.
        value: of the argument.

    Attributes:
        why, argument, value: see above.
        exit_code: of the command line (see docs/commands.md).
        option: what the user calls the argument, such as ``--ways``; the command line sets it.
        source: says where the value was set, to end the text; the command line sets it.
    """

    exit_code = 1
    option = ""
    source = ""

    def __init__(self, why: str = "", *, argument: str = "", value: object = None) -> None:
        super().__init__(why)  # alone, so that pickle can make the error again
        self.why = why
        self.argument = argument
        self.value = value

    def __str__(self) -> str:
        if not self.argument:
            return self.why
        if self.option and self.value is True:  # a flag
            return f"{self.option}: {self.why}{self.source}"
        called = f"{self.option} " if self.option else f"{self.argument}="
        return f"{called}{self.value!r}: {self.why}{self.source}"


class SettingsError(L2LOmniglotError):
    """A setting, or a combination of settings, is invalid."""

    exit_code = 2


class DataError(L2LOmniglotError):
    """Images, a stack, a sidecar or a split is missing, broken or too small."""

    exit_code = 3


class DownloadError(L2LOmniglotError):
    """The archives, or another file, could not be downloaded."""

    exit_code = 4


class BackboneError(L2LOmniglotError):
    """A backbone is unknown, does not import, or breaks its contract."""

    exit_code = 5


class RunError(L2LOmniglotError):
    """A run folder or checkpoint is missing, broken, or of another kind."""

    exit_code = 6


class TrainingError(L2LOmniglotError):
    """Training has diverged: the loss, or that of every validation or a test, is not finite."""

    exit_code = 7


class WorkerError(L2LOmniglotError):
    """A worker process has died or never started; the text says how to resume."""

    exit_code = 8

    def __str__(self) -> str:
        return (
            f"{super().__str__()}; a training goes on from its last checkpoint with "
            "`l2l-omniglot train --resume`"
        )


class SkippedError(L2LOmniglotError):
    """The work is done except for pictures that could not be read, which the text names."""

    exit_code = 9


def refused(
    argument: str, value: object, why: str, kind: type[L2LOmniglotError] = SettingsError
) -> L2LOmniglotError:
    """Returns the error for an argument's value, such as ``ways=1: expected at least 2``."""
    return kind(why, argument=argument, value=value)


def check_number(
    argument: str,
    value: float,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    kind: type[L2LOmniglotError] = SettingsError,
) -> None:
    """Refuses a number below `minimum`, above `maximum`, not above `above`, or NaN.

    With `above`, infinity is refused, too.

    Raises:
        L2LOmniglotError: of the given kind; quotes the number and what was expected.
    """
    if above is not None and not (value > above and math.isfinite(value)):
        raise refused(argument, value, f"expected a number above {above:g}", kind)
    if minimum is not None and not value >= minimum:
        raise refused(argument, value, f"expected at least {minimum:g}", kind)
    if maximum is not None and not value <= maximum:
        raise refused(argument, value, f"expected at most {maximum:g}", kind)


def check_choice(
    argument: str,
    value: str,
    known: Iterable[str],
    also: str = "",
    kind: type[L2LOmniglotError] = SettingsError,
) -> None:
    """Refuses a value that is none of the known ones.

    Args:
        argument: name of the argument.
        value: its value.
        known: the values it may have.
        also: what else it may be, in words.
        kind: of error.

    Raises:
        L2LOmniglotError: of the given kind; quotes the value and the known ones, then suggests
            the closest.
    """
    names = tuple(known)
    if value not in names:
        raise refused(argument, value, expected_name(value, names, also), kind)


def expected_name(value: str, known: Iterable[str], also: str = "") -> str:
    """Says which names were expected instead of an unknown one, and which was likely meant."""
    names = tuple(known)
    if not names:
        return f"there are none{also and f'; expected {also}'}"
    choices = f"{', '.join(names)}{also and f', or {also}'}"
    return f"expected one of {choices}{did_you_mean(value, names)}"


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Suggests the known name closest to `value`, as the end of a sentence; may be empty."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def need(package: str, what: str, extra: str) -> None:
    """Requires an optional package.

    Args:
        package: its import name.
        what: what needs it, in words.
        extra: the extra of this package that installs it.

    Raises:
        SettingsError: if it is not installed; says how to install it.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        install = f"pip install 'l2l-omniglot[{extra}]'"
        raise SettingsError(f"{what} needs {package}: {install}") from error
