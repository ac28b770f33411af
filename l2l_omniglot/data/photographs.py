"""Finds paper and ink of photographs, and redraws ink with one pen (extra `photographs`)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from l2l_omniglot.errors import need

Levels: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

# The development half of `tools.photographs` chose all that follows.
SIDE = 320  # pixels of the longer side, in which paper is looked for
STROKE = 1 / 12  # of the longer side; strokes on a sheet are narrower
LEAST, MOST = 0.06, 0.92  # share of the picture that a sheet takes
SOLID = 0.9  # of its convex hull that a sheet fills
BRIGHTER = 1.35  # times the table, at least
EDGE = 4  # pixels either side of a sheet's edge, within which there is ...
SHARP = 0.7  # ... so much of the difference to the table; the edge of a shadow is softer
CUT_OFF = 0.4  # of a sheet's edge, at most, is near the picture's border
INSET = 5  # pixels of a sheet lost at its edge
DEEP = 0.03  # of a sheet's longer side; so far from its edge the grey is the paper's
CELLS = 96  # of the shorter side, in which light is estimated
REACH = 1 / 6  # of the longer side; strokes are narrower, so there is paper beside them
DIM = 1 / 3  # of the brightest paper; darker paper hides its noise
NOISE = 0.8  # pixels; finer detail is none of the ink's
DARKEST = 0.0005  # share of the pixels that are certainly ink
LEAST_INK = 1 / 16  # of the paper's grey, between paper and ink
HALF_INK = 0.45  # of the difference between paper and ink; ruled lines are paler
WINDOW = 1 / 5  # of the shorter side, of Sauvola's threshold
SPECK = 0.04  # of the largest stroke's pixels; what is smaller is no ink
MIDDLE, PAPER = 128, 255
WHAT = "a photograph, or a picture to be centred and scaled,"


def cut_out_paper(picture: Image.Image) -> Image.Image | None:
    """Cuts out a sheet of paper that lies on something darker; None if there is none.

    Args:
        picture: 8-bit grey.

    Returns:
        The smallest upright rectangle around the sheet; beside the sheet it has the grey of the
        paper nearby.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    need("skimage", WHAT, "photographs")
    from scipy.ndimage import distance_transform_edt

    small = ImageOps.contain(picture, (SIDE, SIDE), Image.Resampling.BOX)
    mask = _sheet(np.asarray(small, dtype=np.float64))
    if mask is None:
        return None
    whole = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    values, inside = np.asarray(picture)[box], whole[box]
    deep = distance_transform_edt(inside) > DEEP * max(inside.shape)
    nearest = distance_transform_edt(~deep, return_distances=False, return_indices=True)
    levels = _light(picture, STROKE)[box][tuple(nearest)]
    return Image.fromarray(np.where(inside, values, levels).astype(np.uint8))


def _sheet(values: Levels) -> Mask | None:
    """Finds a sheet of paper (H, W), without its edge."""
    from scipy.ndimage import binary_erosion, binary_fill_holes
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops

    closed = _close(values, STROKE)
    bright = closed > threshold_otsu(closed)
    if not bright.any():
        return None
    found = label(bright)
    largest = max(regionprops(found), key=lambda region: region.area)
    mask = binary_fill_holes(found == largest.label)
    if not LEAST <= mask.mean() <= MOST or largest.area_filled < SOLID * largest.area_convex:
        return None
    if not _is_sheet(closed, mask):
        return None
    inner: Mask = binary_erosion(mask, iterations=INSET)
    return inner


def _is_sheet(closed: Levels, mask: Mask) -> bool:
    """Tells whether a region is brighter than what is around, and ends at an edge, not in a shadow.

    What is near the picture's border, where `_close` made it dark, does not count.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    frame = round(STROKE * max(mask.shape))
    inner = np.s_[frame:-frame, frame:-frame]
    edge = mask & ~binary_erosion(mask)
    if edge[inner].sum() < (1 - CUT_OFF) * edge.sum():
        return False
    inwards, outwards = distance_transform_edt(mask)[inner], distance_transform_edt(~mask)[inner]
    seen, levels = mask[inner], closed[inner]
    if seen.all() or np.median(levels[seen]) < BRIGHTER * np.median(levels[~seen]):
        return False

    def difference(least: float, most: float) -> float:
        rings = [levels[(d > least) & (d <= most)] for d in (inwards, outwards)]
        return float(np.median(rings[0]) - np.median(rings[1])) if all(map(len, rings)) else 0.0

    near, far = difference(EDGE - 1, EDGE), difference(3 * EDGE, 4 * EDGE)
    return near > 0 and near >= SHARP * far


def _close(values: Levels, reach: float) -> Levels:
    """Removes what is dark and narrower than a share of the longer side; the border is dark."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = max(3, round(reach * max(values.shape)))
    wide = maximum_filter(values, size, mode="constant", cval=0)
    closed: Levels = minimum_filter(wide, size, mode="constant", cval=0)
    return closed


def _light(picture: Image.Image, reach: float) -> Levels:
    """Estimates the paper's grey everywhere: the picture without its strokes, (H, W)."""
    from scipy.ndimage import gaussian_filter, grey_closing

    cells = picture.reduce(max(1, min(picture.size) // CELLS))
    size = max(3, round(reach * max(cells.size)))
    wide = np.pad(np.asarray(cells, dtype=np.float64), size, mode="edge")
    closed = grey_closing(wide, size=(size, size))
    smooth = gaussian_filter(closed, size / 8)[size:-size, size:-size].astype(np.float32)
    full = Image.fromarray(smooth).resize(picture.size, Image.Resampling.BILINEAR)
    return np.asarray(full, dtype=np.float64)


def find_ink(picture: Image.Image) -> Image.Image:
    """Finds the ink of a photograph, however it is lit, by a local threshold.

    Evens out the light, then takes for ink what is below the threshold of Sauvola and Pietikäinen
    (2000) and not much paler than the darkest ink; specks are left out.

    Args:
        picture: 8-bit grey, dark ink.

    Returns:
        A picture of the same size: 0 where there is ink, 255 elsewhere.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    need("skimage", WHAT, "photographs")
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_sauvola

    values = gaussian_filter(np.asarray(picture, dtype=np.float64), NOISE)
    light = _light(picture, REACH)
    darker = np.maximum(light - values, 0) / np.maximum(light, max(1.0, DIM * light.max()))
    flat = 1 - darker
    contrast = 1 - float(np.quantile(flat, DARKEST))
    if contrast < LEAST_INK:
        return Image.new("L", picture.size, PAPER)
    window = 2 * (round(WINDOW * min(flat.shape)) // 2) + 1
    local = threshold_sauvola(flat, max(3, window), r=contrast / 2)
    ink = _without_specks((flat < local) & (flat < 1 - HALF_INK * contrast))
    return Image.fromarray(np.where(ink, 0, PAPER).astype(np.uint8))


def _without_specks(ink: Mask) -> Mask:
    from skimage.measure import label

    strokes = label(ink, connectivity=2)
    sizes = np.bincount(strokes.ravel())
    kept = sizes >= SPECK * sizes[1:].max(initial=0)
    kept[0] = False  # paper
    found: Mask = kept[strokes]
    return found


def even_pen(ink: Image.Image, width: float) -> Image.Image:
    """Redraws ink along its middle line, with a pen of one width.

    Args:
        ink: 8-bit grey; ink is what is darker than 128.
        width: of the pen, in pixels.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    need("skimage", WHAT, "photographs")
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    lines = skeletonize(np.asarray(ink) < MIDDLE)
    if not lines.any():
        return Image.new("L", ink.size, PAPER)
    distance = distance_transform_edt(~lines)
    return Image.fromarray((PAPER * (distance - width / 2 + 0.5).clip(0, 1)).astype(np.uint8))
