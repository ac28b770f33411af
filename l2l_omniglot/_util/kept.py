"""What takes long to make and is always the same, kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

from l2l_omniglot._util.files import atomic_write, cache_folder


def kept(name: str, recipe: bytes, size: int, make: Callable[[], bytes]) -> bytes:
    """Returns what a recipe gives: as the cache folder has it, else made and put there.

    One file keeps what was made last under its name. It begins with the digest of the recipe and
    of what that gave: of another recipe, damaged or unreadable, it is as good as missing. A
    folder that cannot be written to keeps nothing.

    Args:
        name: of the file.
        recipe: all that decides what is made.
        size: how many bytes that is.
        make: makes it.
    """
    content = _read(name, recipe, size)
    if content is None:
        content = make()
        with contextlib.suppress(OSError), atomic_write(cache_folder() / name) as file:
            file.write(_digest(recipe, content) + content)
    return content


def _read(name: str, recipe: bytes, size: int) -> bytes | None:
    path, length = cache_folder() / name, hashlib.sha256().digest_size
    try:
        if not path.is_file() or path.stat().st_size != length + size:
            return None
        text = path.read_bytes()
    except OSError:
        return None
    return text[length:] if text[:length] == _digest(recipe, text[length:]) else None


def _digest(recipe: bytes, content: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(recipe).digest() + content).digest()
