"""The font of pictures: one that has the letters to be written, as far as there is one here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

from PIL import ImageFont

from l2l_omniglot._util.text import shown

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"
# Looked for where the system keeps its fonts; those of Linux, macOS and Windows with Chinese last.
FILES = (
    "DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc",
    "PingFang.ttc", "Arial Unicode.ttf", "msyh.ttc",
)  # fmt: skip
NO_LETTER = "\uffff"  # for which a font draws what it does for all that it lacks


def font_for(texts: Iterable[str], size: int) -> Font:
    """Returns the first font that has most letters of some texts, Pillow's own by default."""
    letters = {letter for text in texts for letter in text if not letter.isspace()}
    return min(_fonts(size), key=lambda font: sum(not _has(font, letter) for letter in letters))


def writable(text: str, font: Font) -> str:
    """Escapes the letters that a font lacks, so that names differ that are different."""
    return "".join(
        letter if letter.isspace() or _has(font, letter) else ascii(letter)[1:-1]
        for letter in shown(text)
    )


def _fonts(size: int) -> Iterator[Font]:
    yield ImageFont.load_default(size)
    for name in FILES:
        if font := _font(name, size):
            yield font


@lru_cache
def _font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # it is not here
        return None


def _has(font: Font, letter: str) -> bool:
    """Returns whether a font draws a letter otherwise than one that no font has."""
    return bytes(font.getmask(letter)) != bytes(font.getmask(NO_LETTER))
