"""The cache folder, and files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from l2l_omniglot.errors import refused

CACHE_VARIABLE = "L2L_OMNIGLOT_CACHE"
OFFLINE_VARIABLE = "L2L_OMNIGLOT_OFFLINE"  # if set, nothing is downloaded


def cache_folder() -> Path:
    """Returns ``L2L_OMNIGLOT_CACHE`` if set, else the user's cache folder for this package."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # of a user that is not there
            raise refused(CACHE_VARIABLE, chosen, f"expected a folder; {error}") from error
    import platformdirs

    return Path(platformdirs.user_cache_dir("l2l-omniglot"))


def resolved(path: str | Path) -> Path:
    """Returns a path without links; of links in a circle, the first (`Path.resolve` raises)."""
    return Path(os.path.realpath(path))


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path`, and moves it to `path` when the block succeeds.

    A reader sees the old file or the new one, never a part. When the block fails, the temporary
    file is removed. Links are followed, an existing file keeps its mode, and anything but a plain
    file, such as ``/dev/stdout``, is written to directly. An OSError names `path`.
    """
    with (
        _naming(path),
        path.open("wb") if is_special(path) else _replacing(resolved(path)) as file,
    ):
        yield file


def is_special(path: Path) -> bool:
    """Returns whether it is there, but neither file nor folder: a device such as /dev/stdout."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An OSError of the block names `path`, and no temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    os.umask(mask := os.umask(0))  # the only way to read it
    mode = path.stat().st_mode & 0o7777 if path.is_file() else 0o666 & ~mask
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Makes a temporary folder beside `path`, which becomes `path` when the block succeeds.

    There may be an empty folder of that name. When the block fails, nothing is left.
    """
    path = resolved(path)
    with folder_beside(path) as parent:
        folder = parent / path.name
        folder.mkdir()  # with the usual mode, which a temporary folder has not
        yield folder
        folder.replace(path)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Makes a temporary folder beside `path` for the block; where it cannot, names `path`."""
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    with temporary as folder:
        yield Path(folder)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically, in UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())


def sha256(path: Path) -> str:
    """Returns the SHA-256 digest of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
