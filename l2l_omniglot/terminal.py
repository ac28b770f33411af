"""Grids of characters in characters: braille, half blocks, or plain ASCII."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from l2l_omniglot.errors import SettingsError, check_name
from l2l_omniglot.grid import Grid, Pixels

Mask = npt.NDArray[np.bool_]

SIDE = 28  # pixels of an image's longer side, at most
DARK = 150  # grey values of up to 255 that count as ink
BRAILLE = 0x2800
# Numbers of the dots in a cell of 4 rows by 2 columns, as Unicode has them.
_DOTS = np.array([[0, 3], [1, 4], [2, 5], [6, 7]])
_HALVES = np.array([[" ", "▄"], ["▀", "█"]])  # by upper, lower
_ASCII = np.array([[" ", "."], ["'", "#"]])
APART = "  |  "  # between groups


class Style(NamedTuple):
    """How ink is drawn: `draw` takes a mask whose sides are multiples of `cell`."""

    cell: tuple[int, int]
    draw: Callable[[Mask], list[str]]
    probe: str


def _braille(mask: Mask) -> list[str]:
    rows, columns = mask.shape
    cells = mask.reshape(rows // 4, 4, columns // 2, 2).astype(int)
    codes = (cells << _DOTS[:, None, :]).sum(axis=(1, 3)) + BRAILLE
    return ["".join(map(chr, line)) for line in codes]


def _halves(signs: npt.NDArray[np.str_]) -> Callable[[Mask], list[str]]:
    def draw(mask: Mask) -> list[str]:
        found = mask.astype(int)
        return ["".join(line) for line in signs[found[::2], found[1::2]]]

    return draw


STYLES = {
    "braille": Style((4, 2), _braille, "⣿"),
    "blocks": Style((2, 1), _halves(_HALVES), "▀▄█"),
    "ascii": Style((2, 1), _halves(_ASCII), "#"),
}


def choose_style(name: str, encoding: str, terminal: str = "") -> str:
    """The style meant by ``auto``: braille, where encoding and terminal have it, or less.

    Args:
        name: ``auto``, or one of `STYLES`, which is taken.
        encoding: of the output, e.g. ``utf-8``.
        terminal: its kind (``TERM``); the console of Linux has no braille.

    Raises:
        SettingsError: if the name is unknown, or the encoding cannot show the style.
    """
    check_name("--style", name, ("auto", *STYLES))
    able = [key for key, style in STYLES.items() if _encodes(style.probe, encoding)]
    if name == "auto":
        return next(key for key in able if (key, terminal) != ("braille", "linux"))
    if name not in able:
        raise SettingsError(
            f"--style {name}: the output's encoding {encoding} has no such characters; needed "
            f"{' or '.join(able)}"
        )
    return name


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def to_text(grid: Grid, width: int, style: str) -> str:
    """The grid as lines of at most `width` characters, or of one image.

    Each class has a line with its label and one or more rows of images; a bar stands between
    the groups.

    Args:
        grid: what is shown.
        width: of the terminal in characters.
        style: one of `STYLES`.
    """
    lines = textwrap.wrap(grid.title, width)
    if any(grid.groups):
        lines.append(" | ".join(grid.groups))
    for row in grid.rows:
        lines += ["", *textwrap.wrap(row.label, width)]
        blocks: list[tuple[str, list[str]]] = []
        for number, group in enumerate(row.groups):
            for place, pixels in enumerate(group):
                before = APART if number and not place else " "
                blocks.append((before, _draw(pixels, STYLES[style])))
        lines += _wrap(blocks, width)
    return "\n".join(line.rstrip() for line in lines)


def _wrap(blocks: list[tuple[str, list[str]]], width: int) -> list[str]:
    """Images side by side, with what stands before each, as many in a row as there is room."""
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


def _draw(pixels: Pixels, style: Style) -> list[str]:
    """One image, made smaller where it is large, as lines of equal length."""
    picture = Image.fromarray(pixels).convert("L")
    scale = min(1.0, SIDE / max(picture.size))
    if scale < 1:
        size = tuple(max(1, round(scale * side)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.BOX)  # type: ignore[arg-type]
    mask = np.asarray(picture) <= DARK
    padding = [(0, -side % cell) for side, cell in zip(mask.shape, style.cell, strict=True)]
    return style.draw(np.pad(mask, padding))
