"""Finds the ink of a photograph, whatever the light, the pen and the lines of the paper."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from l2l_omniglot.data.frame import NEEDING, PAPER
from l2l_omniglot.data.ruled import ruled_lines, without_lines
from l2l_omniglot.errors import need

Levels: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

# The development half of `tools.photographs` chose all that follows.
NOISE = 0.8  # pixels; finer detail is none of the ink's
CELLS = 96  # of the shorter side, in which light is estimated
REACH = 1 / 6  # of the longer side; strokes are narrower, so there is paper beside them
DIM = 1 / 3  # of the brightest paper; darker paper hides its noise
DARKEST = 0.005  # share of the pixels whose colour is the ink's
SURE = 0.0005  # share of the pixels that are certainly ink
LEAST_INK = 1 / 16  # of the paper's grey, between paper and ink
HALF_INK = 0.45  # of the difference between paper and ink
WINDOW = 1 / 5  # of the shorter side, of Sauvola's threshold
SPECK = 0.04  # of the largest stroke's pixels; what is smaller is no ink
ALONG = 0.25  # of a side that ink may take of the picture's border; more is something else


class Ink(NamedTuple):
    """The ink of a photograph.

    Attributes:
        picture: 8-bit grey, 0 where there is ink, 255 elsewhere.
        ruled: whether the paper has lines, which were taken out.
    """

    picture: Image.Image
    ruled: bool


def find_ink(picture: Image.Image, light: bool = False) -> Ink:
    """Finds the ink of a photograph.

    Evens out the light, measures darkness along the ink's own colour, takes ruled lines out, and
    takes for ink what is below the threshold of Sauvola and Pietikäinen (2000) and not much paler
    than the darkest; specks and what runs along the border are left out.

    Args:
        picture: 8-bit, grey or RGB.
        light: whether ink is lighter than what it is on, as chalk is.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    need("skimage", *NEEDING)
    from skimage.filters import threshold_sauvola

    dark, ruled = _darkness(picture, light)
    contrast = float(np.quantile(dark, 1 - SURE))
    if contrast < LEAST_INK:
        return Ink(Image.new("L", picture.size, PAPER), ruled)
    window = 2 * (round(WINDOW * min(dark.shape)) // 2) + 1
    local = threshold_sauvola(1 - dark, max(3, window), r=contrast / 2)
    ink = (1 - dark < local) & (dark > HALF_INK * contrast)
    pixels = np.where(_without_specks(ink), 0, PAPER).astype(np.uint8)
    return Ink(Image.fromarray(pixels), ruled)


def _darkness(picture: Image.Image, light: bool) -> tuple[Levels, bool]:
    """Returns how much darker than paper each pixel is, (H, W); and whether there were lines."""
    from scipy.ndimage import gaussian_filter

    values = np.asarray(picture.convert("RGB"), dtype=np.float64) / PAPER
    # Chalk is bright where the light is; square roots bring its greys closer together.
    values = gaussian_filter(1 - np.sqrt(values) if light else values, (NOISE, NOISE, 0))
    paper = np.stack([_paper(values[..., channel]) for channel in range(3)], axis=-1)
    dark = np.maximum(paper - values, 0) / np.maximum(paper, DIM * paper.max())
    grey = dark.mean(axis=2)
    lines = ruled_lines(grey)
    ruled = lines[0].mask | lines[1].mask
    darkness = _along_ink(dark, np.where(ruled, 0, grey))
    for ruling in lines:
        darkness = without_lines(darkness, ruling)
    return darkness, bool(ruled.any())


def _paper(values: Levels) -> Levels:
    """Estimates the paper's brightness everywhere: the picture without its strokes, (H, W)."""
    from scipy.ndimage import gaussian_filter, grey_closing

    picture = Image.fromarray(values.astype(np.float32))
    cells = picture.reduce(max(1, min(picture.size) // CELLS))
    size = max(3, round(REACH * max(cells.size)))
    wide = np.pad(np.asarray(cells, dtype=np.float64), size, mode="edge")
    closed = grey_closing(wide, size=(size, size))
    smooth = gaussian_filter(closed, size / 8)[size:-size, size:-size].astype(np.float32)
    full = Image.fromarray(smooth).resize(picture.size, Image.Resampling.BILINEAR)
    return np.asarray(full, dtype=np.float64)


def _along_ink(dark: Levels, grey: Levels) -> Levels:
    """Measures darkness (H, W, 3) along the colour of the pixels that are darkest in grey (H, W).

    A blue line is then paler beside red ink than it looks; grey darkness stays what it is.
    """
    darkest = dark[grey >= np.quantile(grey, 1 - DARKEST)].mean(axis=0)
    length = float(np.linalg.norm(darkest))
    along: Levels = dark @ (darkest / length if length else darkest) / np.sqrt(3)
    return along


def _without_specks(ink: Mask) -> Mask:
    """Leaves out specks, and what runs along the border, unless nothing else is left."""
    from skimage.measure import label

    strokes = label(ink, connectivity=2)
    sizes = np.bincount(strokes.ravel())
    sizes[0] = 0  # paper
    inner = np.where(_border_shares(strokes, len(sizes)) > ALONG, 0, sizes)
    sizes = inner if inner.any() else sizes
    kept = sizes >= max(1, SPECK * sizes.max(initial=0))
    mask: Mask = kept[strokes]
    return mask


def _border_shares(strokes: npt.NDArray[np.int_], count: int) -> Levels:
    """Returns of each stroke the largest share of a side of the picture that it takes."""
    sides = strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]
    shares: Levels = np.max(
        [np.bincount(side, minlength=count) / len(side) for side in sides], axis=0
    )
    return shares
