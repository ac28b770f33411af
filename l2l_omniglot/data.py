"""Data by name: ``omniglot`` (prepared when it is not there yet), ``synthetic``, or a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from l2l_omniglot.errors import DataError, needed_name
from l2l_omniglot.omniglot import Announce, Progress, default_stack_path, prepare_omniglot
from l2l_omniglot.settings import Settings

if TYPE_CHECKING:
    from l2l_omniglot.stack import ImageStack

OMNIGLOT, SYNTHETIC = "omniglot", "synthetic"


def open_data(
    settings: Settings,
    announce: Announce = lambda _: None,
    progress: Progress | None = None,
) -> ImageStack:
    """Opens the data a run asks for.

    Args:
        settings: `data`, `background`, `ink` and `split_seed` decide.
        announce: told in a sentence when Omniglot must be prepared first.
        progress: of preparing, called with (done, in all).

    Raises:
        DataError: if the data is missing or broken.
        DownloadError: if Omniglot is not prepared and cannot be downloaded; its text holds the
            commands that help.
    """
    from l2l_omniglot.stack import load_stack
    from l2l_omniglot.synthetic import synthetic_stack

    if settings.data == SYNTHETIC:
        return synthetic_stack(seed=settings.split_seed, ink=settings.ink)  # type: ignore[arg-type]
    path = Path(settings.data)
    if settings.data == OMNIGLOT:
        path = default_stack_path()
        if not path.is_file():
            announce(f"No prepared Omniglot at {path}: preparing it now.")
            prepare_omniglot([], path, announce=announce, progress=progress)
    elif not path.is_file():
        also = "the path of a .npy class stack"
        needed = needed_name(settings.data, (OMNIGLOT, SYNTHETIC), also)
        raise DataError(f"--data {settings.data!r}: no such file; {needed}")
    return load_stack(path, settings.background, settings.ink)  # type: ignore[arg-type]
