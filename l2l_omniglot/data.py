"""Data by name: ``omniglot`` (prepared when it is not there yet), ``synthetic``, or a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from l2l_omniglot.archive import SOURCE_VARIABLE, download_archives
from l2l_omniglot.errors import DataError, DownloadError, needed_name
from l2l_omniglot.prepare import Report, check_target, default_stack_path, prepare_stack
from l2l_omniglot.settings import Settings

if TYPE_CHECKING:
    from l2l_omniglot.stack import ImageStack

OMNIGLOT, SYNTHETIC = "omniglot", "synthetic"
Announce: TypeAlias = Callable[[str], None]


def open_data(
    settings: Settings,
    announce: Announce = lambda _: None,
    progress: Report | None = None,
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


def prepare_omniglot(
    sources: list[Path],
    out: Path,
    *,
    image_size: int = 28,
    announce: Announce,
    progress: Report | None = None,
) -> None:
    """Prepares the stack from `sources`, else ``L2L_OMNIGLOT_SOURCE``, else the download."""
    check_target(out, image_size)
    named = os.environ.get(SOURCE_VARIABLE)
    origin = None
    if not sources and named:
        announce(f"Reading the images from {SOURCE_VARIABLE}={named}.")
        sources = [Path(named)]
    elif not sources:
        announce("Downloading the official archives (14 MB).")
        sources = _download()
        origin = "official archives of brendenlake/omniglot, MD5 verified"
    prepare_stack(sources, out, image_size, progress, origin)
    announce(f"Wrote {out}.")


def _download() -> list[Path]:
    try:
        return download_archives()
    except DownloadError as error:
        raise DownloadError(
            f"{error}\n"
            "With the archives (or the folders extracted from them) at hand:\n"
            "  l2l-omniglot prepare --source FOLDER\n"
            "With a mirror that serves images_background.zip and images_evaluation.zip:\n"
            "  L2L_OMNIGLOT_MIRROR=https://... l2l-omniglot prepare\n"
            "Without Omniglot, on built-in characters:\n"
            "  l2l-omniglot train --data synthetic"
        ) from error
