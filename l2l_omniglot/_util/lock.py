"""A lock between processes, which the end of one releases, however it ends."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """Keeps other processes from what a file or folder stands for.

    Args:
        path: of the file or folder, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """Takes the lock, and returns whether it could; True where the system has no locks."""
        if self._handle is not None or fcntl is None:
            return True
        self._handle = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        except OSError:  # some file systems have no locks
            self.release()
        return True

    @property
    def held(self) -> bool:
        """Returns whether it is taken; never where the system has no locks."""
        return self._handle is not None

    def release(self) -> None:
        """Lets other processes take it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
