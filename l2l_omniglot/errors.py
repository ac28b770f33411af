"""The one family of errors; each knows the exit code the command line ends with."""

from collections.abc import Iterable


class L2LOmniglotError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        exit_code: what the command line exits with (see docs/commands.md).
    """

    exit_code = 1


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

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}; a training goes on from its last checkpoint with `l2l-omniglot train "
            "--resume`"
        )


class SkippedError(L2LOmniglotError):
    """The work is done, but for some pictures that could not be read; names them."""

    exit_code = 9


def check_name(what: str, value: str, known: Iterable[str]) -> None:
    """Refuses a name that is not known.

    Raises:
        SettingsError: quotes it and those that are.
    """
    names = tuple(known)
    if value not in names:
        raise SettingsError(f"{what} {value!r}: needed one of {', '.join(names)}")
