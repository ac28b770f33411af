"""The one family of errors; each knows the exit code the command line ends with."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable


class L2LOmniglotError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        exit_code: what the command line exits with (see docs/commands.md).
        argument: the name of the argument whose value is refused, if it is one; the text then
            begins with ``argument=value``. The command line puts its option there.
    """

    exit_code = 1
    argument = ""


class SettingsError(L2LOmniglotError):
    """A setting, or a combination of settings, that cannot work."""

    exit_code = 2


class DataError(L2LOmniglotError):
    """Images, a stack, a sidecar or a split that is missing, broken or too small."""

    exit_code = 3


class DownloadError(L2LOmniglotError):
    """The archives could not be fetched."""

    exit_code = 4


class BackboneError(L2LOmniglotError):
    """A backbone that is unknown, does not import, or breaks its contract."""

    exit_code = 5


class RunError(L2LOmniglotError):
    """A run folder or checkpoint that is missing, broken, or of another kind."""

    exit_code = 6


class TrainingError(L2LOmniglotError):
    """Training cannot go on: the loss is no longer a number."""

    exit_code = 7


class WorkerError(L2LOmniglotError):
    """A worker process is gone, or was never there; says how to go on."""

    exit_code = 8

    def __str__(self) -> str:
        return (
            f"{super().__str__()}; a training goes on from its last checkpoint with "
            "`l2l-omniglot train --resume`"
        )


class SkippedError(L2LOmniglotError):
    """The work is done, but for some pictures that could not be read; names them."""

    exit_code = 9


def refused(
    argument: str, value: object, why: str, kind: type[L2LOmniglotError] = SettingsError
) -> L2LOmniglotError:
    """The error for the value of an argument, such as ``ways=1: expected at least 2``."""
    error = kind(f"{argument}={value!r}: {why}")
    error.argument = argument
    return error


def check_number(
    argument: str,
    value: float,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
) -> None:
    """Refuses a number that is out of range, NaN or infinite.

    Args:
        argument: whose value it is.
        value: the number.
        least: the smallest it may be.
        most: the largest.
        above: what it has to exceed.

    Raises:
        SettingsError: quotes the number and what was expected.
    """
    if above is not None and not (value > above and math.isfinite(value)):
        raise refused(argument, value, f"expected a number above {above:g}")
    if least is not None and not value >= least:
        raise refused(argument, value, f"expected at least {least:g}")
    if most is not None and not value <= most:
        raise refused(argument, value, f"expected at most {most:g}")


def check_choice(argument: str, value: str, known: Iterable[str]) -> None:
    """Refuses the value of an argument that is none of those there are.

    Raises:
        SettingsError: quotes it and those there are, the likeliest last.
    """
    names = tuple(known)
    if value not in names:
        raise refused(argument, value, expected_name(value, names))


def check_name(
    what: str,
    value: str,
    known: Iterable[str],
    *,
    also: str = "",
    kind: type[L2LOmniglotError] = SettingsError,
) -> None:
    """Refuses a name that is not known.

    Args:
        what: the setting whose value it is.
        value: the name.
        known: those there are.
        also: what the value may be other than a name, in words.
        kind: of error.

    Raises:
        L2LOmniglotError: of that kind; quotes the name and those there are, the likeliest last.
    """
    names = tuple(known)
    if value not in names:
        raise kind(f"{what} {value!r}: {expected_name(value, names, also)}")


def expected_name(value: str, known: Iterable[str], also: str = "") -> str:
    """What was expected instead of a name that is not known, and which one was likely meant."""
    names = tuple(known)
    if not names:
        return f"there are none{also and f'; expected {also}'}"
    return (
        f"expected one of {', '.join(names)}{also and f', or {also}'}{did_you_mean(value, names)}"
    )


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """The known name closest to a mistyped one, as the end of a sentence; empty where none is."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(value.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def need(package: str, what: str, extra: str) -> None:
    """Says what to install where a package is not there.

    Args:
        package: as it is imported.
        what: needs it, in words.
        extra: of this package that brings it.

    Raises:
        SettingsError: if it is not there.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise SettingsError(
            f"{what} needs {package}: pip install 'l2l-omniglot[{extra}]'"
        ) from error
