"""Finds the ruled lines of a sheet of paper, and takes them out from under the ink."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Levels: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = npt.NDArray[np.int64]

# The development half of `tools.photographs` chose all that follows.
COLUMNS = 80  # of a picture, in which the lines' slant is looked for
SLANTS = np.linspace(-0.12, 0.12, 49)  # rows a column, in the middle of the picture
FANS = np.linspace(-0.16, 0.16, 9)  # how the slant differs from the upper to the lower end
FINER_SLANTS, FINER_FANS = np.linspace(-0.004, 0.004, 9), np.linspace(-0.02, 0.02, 9)
NARROW = 12  # pixels; lines are narrower, light and shade wider
FAINT = 0.02  # darkness above its surroundings, from which a pixel may be a line's
LINE = 0.45  # of a row's pixels; strokes take less
HINT = 0.2  # of a row's pixels, in rows of any fan, that make a closer look worth it
FEWEST = 5  # lines; fewer may be strokes
LINE_EDGE = 0.3  # of a line's darkness: its edges
HEADROOM = 1.35  # times a line's darkness; what is darker is ink on it


class Ruling(NamedTuple):
    """Ruled lines of one direction.

    Attributes:
        upright: whether they run from above to below.
        rows: int64 (H, W): which row of the straightened picture each pixel belongs to; if
            upright, of the transposed picture.
        ruled: bool (R,): which of those rows are lines.
        mask: bool (H, W): the pixels of lines, in the picture.
    """

    upright: bool
    rows: Rows
    ruled: Mask
    mask: Mask


def ruled_lines(dark: Levels) -> tuple[Ruling, Ruling]:
    """Finds lines that run across and upright.

    Lines are straight, about parallel or a fan (seen at an angle), and run through the whole
    picture, so that most pixels along them are darker than their surroundings.

    Args:
        dark: darkness (H, W), about 0 on paper and 1 in ink.
    """
    return _lines(dark, upright=False), _lines(dark.T, upright=True)


def _lines(dark: Levels, upright: bool) -> Ruling:
    from scipy.ndimage import uniform_filter1d

    above = dark - uniform_filter1d(dark, 2 * NARROW + 1, axis=0)
    darker = above > FAINT
    rows = _rows(dark.shape, *_slant(darker))
    ruled = _share(darker, rows) >= LINE
    if np.count_nonzero(ruled[1:] & ~ruled[:-1]) < FEWEST:
        ruled = np.zeros_like(ruled)
    else:
        ruled = _with_edges(above, rows, ruled)
    mask = ruled[rows]
    return Ruling(upright, rows, ruled, mask.T if upright else mask)


def _slant(darker: Mask) -> tuple[float, float]:
    """Returns the slant and the fan along which rows differ most in what is seen of lines."""
    times = max(1, darker.shape[1] // COLUMNS)
    few = darker[:, ::times]  # rows stay as fine as they are: lines are a pixel or two
    mean = few.mean()

    def shares(slant: float, fan: float) -> Levels:
        return _share(few, _rows(few.shape, slant * times, fan * times))

    def contrast(pair: tuple[float, float]) -> float:
        return float(np.square(shares(*pair) - mean).sum())

    slant, fan = max(product(SLANTS, [0.0]), key=contrast)
    if np.sort(shares(slant, fan))[-FEWEST:][0] < HINT:
        return slant, fan
    slant, fan = max(product(slant + FINER_SLANTS, FANS), key=contrast)
    return max(product(slant + FINER_SLANTS / 2, fan + FINER_FANS), key=contrast)


def _rows(shape: tuple[int, ...], slant: float, fan: float) -> Rows:
    """Returns the row in the middle column where the line through each pixel is, (H, W)."""
    height, width = shape
    across = np.arange(width, dtype=np.float32) - width / 2
    y = np.arange(height, dtype=np.float32)[:, None]
    rows = (y - (slant - fan / 2) * across) / (1 + fan / height * across)
    nearest: Rows = rows.round().astype(np.int64).clip(0, height - 1)
    return nearest


def _share(levels: npt.ArrayLike, rows: Rows) -> Levels:
    """Returns the mean of what is seen along each row, (H,); 0 for rows mostly outside."""
    flat, values = rows.ravel(), np.ravel(levels)
    count = np.bincount(flat, minlength=len(rows))
    if values.dtype == np.bool_:
        total = np.bincount(flat[np.flatnonzero(values)], minlength=len(rows))
    else:
        total = np.bincount(flat, values, minlength=len(rows))
    shares: Levels = np.where(count > rows.shape[1] / 2, total / np.maximum(count, 1), 0)
    return shares


def _with_edges(above: Levels, rows: Rows, ruled: Mask) -> Mask:
    """Adds the rows beside lines that are still darker than paper."""
    level = _share(np.clip(above, 0, None), rows)
    lines = ruled.copy()
    for _ in range(3):
        near = np.zeros_like(lines)
        near[1:] |= lines[:-1]
        near[:-1] |= lines[1:]
        peak = np.where(lines, level, 0)
        beside = np.maximum(np.roll(peak, 1), np.roll(peak, -1))
        lines |= near & (level > LINE_EDGE * beside)
    return lines


def without_lines(dark: Levels, ruling: Ruling) -> Levels:
    """Takes lines out of darkness (H, W): ink on them stays, and strokes across them are whole."""
    if not ruling.ruled.any():
        return dark
    rotated = dark.T if ruling.upright else dark
    on = ruling.ruled[ruling.rows]
    level = _line_levels(rotated, ruling)[ruling.rows]
    above, below = _nearest_off(rotated, on)
    across = np.minimum(above, below)  # a stroke goes on at both sides
    darker = np.where(rotated > HEADROOM * level, rotated, 0)
    darkness: Levels = np.where(on, np.maximum(across, np.minimum(darker, rotated)), rotated)
    return darkness.T if ruling.upright else darkness


def _line_levels(dark: Levels, ruling: Ruling) -> Levels:
    """Returns the darkness of each line, (R,): most of its pixels are not much darker."""
    levels = np.zeros(len(ruling.ruled))
    order = np.argsort(ruling.rows, axis=None, kind="stable")
    values = dark.ravel()[order]
    ends = np.searchsorted(ruling.rows.ravel()[order], np.arange(len(levels) + 1))
    for row in np.flatnonzero(ruling.ruled):
        levels[row] = np.quantile(values[ends[row] : ends[row + 1]], 0.7)
    return levels


def _nearest_off(dark: Levels, on: Mask) -> tuple[Levels, Levels]:
    """Returns of each pixel the darkness of the nearest one above, and below, that is off lines."""
    height = len(dark)
    number = np.arange(height)[:, None]
    last = np.maximum.accumulate(np.where(on, -1, number), axis=0)
    following = np.minimum.accumulate(np.where(on, height, number)[::-1], axis=0)[::-1]
    above = np.take_along_axis(dark, last.clip(0), axis=0)
    below = np.take_along_axis(dark, following.clip(max=height - 1), axis=0)
    return np.where(last < 0, 0, above), np.where(following == height, 0, below)
