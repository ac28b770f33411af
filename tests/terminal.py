"""A pseudo-terminal for programs that behave otherwise on one."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence


def plain(text: str) -> str:
    """The text without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class Terminal:
    """Runs a command on a terminal of 24 lines; reads what it shows."""

    def __init__(
        self, command: Sequence[str], env: dict[str, str] | None = None, width: int = 160
    ) -> None:
        self._own, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=env, start_new_session=True
        )
        os.close(child)
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)

    def type(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Reads until the text is shown after all that was waited for before."""
        start, until = len(self.shown), time.monotonic() + seconds
        while text not in plain(self.shown[start:]):
            if time.monotonic() > until or not self._read():
                raise AssertionError(f"never showed {text!r}, but:\n{self.shown}")

    def all(self) -> str:
        """All it shows until it ends."""
        while self._read():
            pass
        self.process.wait(60)
        return self.shown

    def _read(self) -> bool:
        if not select.select([self._own], [], [], 60)[0]:
            return False
        try:
            block = os.read(self._own, 4096)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.shown += block.decode(errors="replace")
        return bool(block)
