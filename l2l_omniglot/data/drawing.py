"""A person's picture, step by step: sheet, light, ink, and what the network is to see of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps

from l2l_omniglot.data import INKS, REDRAWS
from l2l_omniglot.data.frame import Frame, ink_box, measure, redraw
from l2l_omniglot.data.ink import find_ink
from l2l_omniglot.data.light import ink_is_light, inverted, is_blank, is_evenly_lit
from l2l_omniglot.data.sheet import straighten_sheet
from l2l_omniglot.errors import DataError, check_choice

MOST_NARROW = 100  # longer by shorter side; made square it would have that many times the pixels
MOST_SIDE = 1050  # pixels kept a side, ten times Omniglot's, so that many photographs fit in memory
LOOKED_AT = 168
MOST_TOUCHED = 0.08  # of the border of a photograph, by its ink
MOST_SPANNED = 0.9  # of both sides of a photograph, by its ink
SHEET, PHOTOGRAPH, RULED, LIGHT_INK = "sheet", "photograph", "ruled", "light ink"


@dataclass(frozen=True)
class Drawing:
    """A person's picture, and what was found in it.

    Attributes:
        taken: as it was read, 8-bit, grey or RGB, to look at: at most `LOOKED_AT` pixels a side.
        picture: 8-bit grey, dark ink on bright paper: of a photographed sheet, the sheet alone.
        ink: 8-bit grey, black ink on white paper.
        frame: how the ink lies in the picture.
        steps: what was done: ``sheet`` (found and straightened), ``photograph`` (ink found by a
            local threshold), ``ruled`` (lines taken out), ``light ink`` (inverted).
        doubt: why the ink is perhaps not what was found, in words; empty if nothing says so.
    """

    taken: Image.Image
    picture: Image.Image
    ink: Image.Image
    frame: Frame
    steps: frozenset[str]
    doubt: str = ""

    def is_redrawn(self, how: str) -> bool:
        """Returns whether ink is to be centred, scaled and redrawn with one pen.

        Args:
            how: ``always``, ``never``, or ``auto``: unless the picture looks like a drawing of
                Omniglot already: square, evenly lit, of usual size, place and pen.
        """
        check_choice("redraw", how, REDRAWS)
        square = self.picture.width == self.picture.height
        usual = square and PHOTOGRAPH not in self.steps and self.frame.usual
        return how == "always" or (how == "auto" and not usual)

    def prepared(self, how: str) -> Image.Image:
        """Returns what the network is to see, 8-bit grey of any size: dark ink on white paper.

        Args:
            how: see `is_redrawn`; with ``never`` paper and ink keep their greys, too.

        Raises:
            SettingsError: if it is to be redrawn, and scikit-image is not installed.
        """
        if self.is_redrawn(how):
            return self._redrawn
        return self.picture if how == "never" else self.ink

    @cached_property
    def _redrawn(self) -> Image.Image:
        return redraw(self.ink)


def find_drawing(
    picture: Image.Image, name: str, ink: str = "auto", may_be_blank: bool = False
) -> Drawing:
    """Finds the drawing in a picture.

    Args:
        picture: 8-bit, grey or RGB.
        name: of the picture, for errors.
        ink: ``dark``, ``light``, or ``auto``: the minority shade, or where that is not clear,
            the shade that differs from the border.
        may_be_blank: whether a picture without ink is one, too.

    Raises:
        DataError: if the picture is too narrow or blank.
        SettingsError: if it is a photograph, and scikit-image is not installed.
    """
    check_choice("ink", ink, INKS)
    picture, taken = two_sizes(picture, name)
    grey = picture.convert("L")
    if is_blank(grey) and not may_be_blank:
        lowest, highest = grey.getextrema()
        raise DataError(f"{name}: blank picture, with grey values from {lowest} to {highest}")
    if is_evenly_lit(grey):
        return _of_even(taken, grey, ink)
    drawing = _of_photograph(taken, picture, ink)
    if drawing.frame.longer == 0 and not may_be_blank:
        raise DataError(f"{name}: blank picture, except for light and shade")
    return drawing


def check_shape(picture: Image.Image, name: str) -> None:
    """Refuses a picture that is too narrow.

    Raises:
        DataError: names it.
    """
    if max(picture.size) > MOST_NARROW * min(picture.size):
        raise DataError(
            f"{name}: {picture.width} x {picture.height} pixels: too narrow; expected a longer "
            f"side of at most {MOST_NARROW} times the shorter one"
        )


def two_sizes(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image]:
    """Returns a picture to work on, at most `MOST_SIDE` pixels a side, and one to look at.

    Raises:
        DataError: if it is too narrow; names it.
    """
    check_shape(picture, name)
    kept = picture.copy()
    kept.thumbnail((MOST_SIDE, MOST_SIDE))
    taken = kept.copy()
    taken.thumbnail((LOOKED_AT, LOOKED_AT))
    return kept, taken


def _of_even(taken: Image.Image, grey: Image.Image, ink: str) -> Drawing:
    """Finds the drawing of a scan, or of a drawing program: greys are stretched, no more."""
    picture, light = _dark(grey, ink, even=True)
    level = ImageOps.autocontrast(picture)
    return Drawing(taken, picture, level, measure(level), frozenset([LIGHT_INK] * light))


def _of_photograph(taken: Image.Image, whole: Image.Image, ink: str) -> Drawing:
    straight = straighten_sheet(whole)
    sheet = whole if straight is None else straight
    picture, light = _dark(sheet.convert("L"), ink, even=False)
    level, ruled = find_ink(sheet, light)
    done = {SHEET: straight is not None, RULED: ruled, LIGHT_INK: light, PHOTOGRAPH: True}
    steps = frozenset(step for step, taken_so in done.items() if taken_so)
    return Drawing(taken, picture, level, measure(level), steps, _doubt(level))


def _dark(grey: Image.Image, ink: str, even: bool) -> tuple[Image.Image, bool]:
    """Returns a picture with dark ink, and whether its ink was light."""
    light = ink == "light" or (ink == "auto" and ink_is_light([grey]))
    return (inverted(grey, even) if light else grey), light


def _doubt(level: Image.Image) -> str:
    """Says what speaks against the ink of a photograph, black on white."""
    ink = np.asarray(level) == 0
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    if border.mean() > MOST_TOUCHED:
        return "what seems to be ink runs along its border"
    left, upper, right, lower = ink_box(level)
    spanned = min((right - left) / level.width, (lower - upper) / level.height)
    if ink.any() and spanned > MOST_SPANNED:
        return "what seems to be ink reaches from border to border"
    return ""
