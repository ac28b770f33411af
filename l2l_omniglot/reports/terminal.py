"""Contact sheets for terminals, drawn in half blocks."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.reports.contact_sheet import ContactSheet, Pixels

SIDE = 28  # pixels of an image's longer side, at most
DARK = 150  # grey values up to this, of 255, count as ink
_HALVES = np.array([[" ", "▄"], ["▀", "█"]])  # by upper, lower
APART = "  |  "  # between groups


def check_encoding(encoding: str) -> None:
    """Checks that an encoding has half blocks.

    Raises:
        SettingsError: if it has none; names the alternative.
    """
    try:
        "".join(_HALVES.flat).encode(encoding)
    except (UnicodeEncodeError, LookupError) as error:
        raise SettingsError(
            f"the terminal's encoding {encoding} cannot show half blocks; write a PNG file with "
            "--out"
        ) from error


def to_text(sheet: ContactSheet, width: int) -> str:
    """Draws a sheet in lines of at most `width` characters, but at least one image wide.

    Each class has a line with its label and one or more rows of images, with a bar between the
    groups.

    Args:
        sheet: the sheet to draw.
        width: of the terminal in characters.
    """
    lines = textwrap.wrap(sheet.title, width)
    if any(sheet.groups):
        lines.append(" | ".join(sheet.groups))
    for row in sheet.rows:
        lines += ["", *textwrap.wrap(row.label, width)]
        blocks = [
            (APART if number and not place else " ", _draw(pixels))
            for number, group in enumerate(row.groups)
            for place, pixels in enumerate(group)
        ]
        lines += _wrap(blocks, width)
    return "\n".join(line.rstrip() for line in lines)


def _wrap(blocks: list[tuple[str, list[str]]], width: int) -> list[str]:
    """Sets images side by side, each after its separator, as many in a row as fit."""
    done: list[str] = []
    current: list[str] = []
    for before, block in blocks:
        full = bool(current) and len(current[0]) + len(before) + len(block[0]) > width
        if not current or full:
            done += [*current, ""] if full else []
            edge = before.lstrip() if before == APART else ""
            current = [edge + line for line in block]
        else:
            current = [left + before + line for left, line in zip(current, block, strict=True)]
    return done + current


def _draw(pixels: Pixels) -> list[str]:
    """Draws one image, shrunk if it is large, in lines of equal length."""
    picture = Image.fromarray(pixels).convert("L")
    scale = min(1.0, SIDE / max(picture.size))
    if scale < 1:
        size = tuple(max(1, round(scale * side)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.BOX)  # type: ignore[arg-type]
    ink = (np.asarray(picture) <= DARK).astype(int)
    ink = np.pad(ink, ((0, len(ink) % 2), (0, 0)))
    return ["".join(line) for line in _HALVES[ink[::2], ink[1::2]]]
