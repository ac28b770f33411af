"""Where files live, and how they are written so that a killed process leaves no half file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    pass


CACHE_VARIABLE = "L2L_OMNIGLOT_CACHE"


def cache_folder() -> Path:
    """The user's cache folder for this package; ``L2L_OMNIGLOT_CACHE`` takes its place."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("l2l-omniglot"))


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path`, and moves it to `path` when the block succeeds.

    A reader sees the old file or the new one, never a part. When the block fails, the
    temporary file is removed. A link is followed, a file that was there keeps its mode, and what
    is no plain file, such as ``/dev/stdout``, is written to as it is.

    Raises:
        OSError: with `path` for its file name, if it cannot be written.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as file:
                yield file
        else:
            with _replacing(path.resolve()) as file:
                yield file
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    mode = path.stat().st_mode & 0o7777 if path.is_file() else 0o666 & ~_umask()
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


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically, in UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
