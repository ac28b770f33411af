"""Readers of data sets, by the name that `--data` gives them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import TypeAlias

from l2l_omniglot._util.files import cache_folder, resolved
from l2l_omniglot._util.text import noted, shown
from l2l_omniglot.data.class_folders import Looks, list_classes, prepare_classes, recipe_of
from l2l_omniglot.data.omniglot import Announce, Progress, default_stack_path, prepare_omniglot
from l2l_omniglot.data.sidecar import read_sidecar
from l2l_omniglot.data.stack import ImageStack, Stack, load_stack
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.errors import DataError, expected_name, refused
from l2l_omniglot.experiments import READERS
from l2l_omniglot.experiments.settings import Settings

Reader: TypeAlias = Callable[[Settings, Announce, "Progress | None"], Stack]

SYNTHETIC = "synthetic"


def open_data(
    settings: Settings, announce: Announce = lambda _: None, progress: Progress | None = None
) -> Stack:
    """Opens the data of a run.

    Args:
        settings: `data`, `background`, `ink` and `split_seed` decide. What is no name in `READERS`
            is the path of a ``.npy`` class stack, or of a folder of classes.
        announce: called with a sentence if the data must be prepared first.
        progress: of preparing, called with (done, total).

    Raises:
        DataError: if the data is missing or broken.
        DownloadError: if Omniglot is not prepared and cannot be downloaded; the message gives
            commands that help.
    """
    reader: Reader = resolve_name(READERS.get(settings.data, f"{__name__}:read_path"))
    return reader(settings, announce, progress)


def read_synthetic(settings: Settings, _announce: Announce, _progress: Progress | None) -> Stack:
    """Returns the built-in characters."""
    return synthetic_stack(seed=settings.split_seed, ink=settings.ink)  # type: ignore[arg-type]


def read_omniglot(settings: Settings, announce: Announce, progress: Progress | None) -> Stack:
    """Returns Omniglot as the cache folder has it; prepares it first if it has not."""
    path = default_stack_path()
    if not path.is_file():
        announce(f"No prepared Omniglot at {path}: preparing it now.")
        prepare_omniglot([], path, announce=announce, progress=progress)
    return _load(path, settings)


def read_path(settings: Settings, announce: Announce, progress: Progress | None) -> Stack:
    """Returns the stack of a file, or of a folder of classes."""
    path = Path(settings.data)
    if settings.data and path.is_dir():
        return _folder(path, settings, announce, progress)
    if not path.is_file():
        paths = "the path of a .npy class stack or of a folder of classes"
        expected = expected_name(settings.data, READERS, paths)
        raise refused("data", settings.data, f"no such file; {expected}", DataError)
    return _load(path, settings)


def _load(path: Path, settings: Settings) -> ImageStack:
    return load_stack(path, settings.background, settings.ink)  # type: ignore[arg-type]


def _folder(
    folder: Path, settings: Settings, announce: Announce, progress: Progress | None
) -> Stack:
    """Opens a folder of classes, prepared in the cache folder: again if a picture has changed."""
    classes, digest = list_classes(folder), hashlib.sha256(os.fsencode(resolved(folder)))
    path = cache_folder() / f"classes-{digest.hexdigest()[:16]}.npy"  # one file a folder
    stack = _kept(path, recipe_of(classes, Looks()), settings)
    if stack is None:
        announce(f"Preparing {shown(folder)}, grey, {Looks().image_size} pixels a side, as {path}.")
        done = prepare_classes(classes, path, progress=progress)
        small = [f"class {name!r} has no picture that can be read" for name in done.small]
        notes = [*classes.passed, *done.left, *small]
        for note in noted(notes, "and {} more; `prepare --classes` names the pictures"):
            announce(note)
        stack = _load(path, settings)
    stack.name = str(folder)
    return stack


def _kept(path: Path, recipe: str, settings: Settings) -> ImageStack | None:
    """Returns a folder's stack as the cache folder has it; None if it is another, or damaged."""
    try:
        sidecar = read_sidecar(path)
        if sidecar is None or sidecar.recipe != recipe:
            return None
        return _load(path, settings)
    except DataError:
        return None
