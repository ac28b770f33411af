"""Which process is at which part of a work that several share; the end of one releases its own."""

from __future__ import annotations

from pathlib import Path

from l2l_omniglot._util.lock import Lock


class Claims:
    """The claims of this process on numbered parts, and on the turn to choose the next.

    Args:
        folder: of the files that are locked, made if need be; the processes share it.
        name: of the work, which the files begin with.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stem = folder / name
        self._turn = Lock(self._touched("turn"))
        self._held: dict[Path, Lock] = {}

    def take_turn(self) -> bool:
        """Takes the turn, and returns whether it could; no other process has it then."""
        return self._turn.take()

    def end_turn(self) -> None:
        """Lets other processes have the turn."""
        self._turn.release()

    def hold(self, number: int) -> None:
        """Claims a part, in the turn."""
        path = self._touched(str(number))
        self._held[path] = Lock(path)
        self._held[path].take()

    def release(self) -> None:
        """Gives up all claims, once their parts are known to be done."""
        for path, lock in self._held.items():
            path.unlink(missing_ok=True)
            lock.release()
        self._held.clear()

    def is_dead(self, number: int) -> bool:
        """Returns whether the process that began a part has ended; to be asked in the turn.

        Where the system has no locks, none is known to have.
        """
        if not self._turn.held:
            return False
        path = self._path(str(number))
        if not path.exists():  # killed before it could claim it
            return True
        lock = Lock(path)
        dead = lock.take() and lock.held
        lock.release()
        return dead

    def _path(self, name: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}-{name}.lock")

    def _touched(self, name: str) -> Path:
        path = self._path(name)
        path.touch()
        return path
