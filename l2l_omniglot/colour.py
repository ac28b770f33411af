"""Whether a stream is written to in colour, and how."""

from __future__ import annotations

import os
from typing import TextIO

BOLD, RED, GREEN = "1", "1;31", "1;32"


def forced() -> bool:
    """Whether colour is asked for even where no terminal shows it."""
    if os.environ.get("NO_COLOR"):
        return False
    wishes = (os.environ.get("FORCE_COLOR"), os.environ.get("CLICOLOR_FORCE"))
    return any(wish not in {None, "", "0"} for wish in wishes)


def coloured(stream: TextIO) -> bool:
    """Whether a stream gets colours: a terminal that has them, unless the environment objects.

    ``NO_COLOR`` (not empty) forbids them, ``FORCE_COLOR`` or ``CLICOLOR_FORCE`` (neither empty
    nor 0) asks for them anywhere, ``CLICOLOR=0`` and ``TERM=dumb`` forbid them on terminals.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if forced():
        return True
    if os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, style: str, stream: TextIO) -> str:
    """The text in a style, where the stream gets colours; else as it is."""
    return f"\x1b[{style}m{text}\x1b[0m" if coloured(stream) else text
