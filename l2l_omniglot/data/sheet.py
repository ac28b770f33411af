"""Finds the sheet of paper in a photograph by its four edges, and straightens it."""

from __future__ import annotations

from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from l2l_omniglot.data.frame import NEEDING
from l2l_omniglot.errors import need

Scene: TypeAlias = npt.NDArray[np.float64]
Corners: TypeAlias = npt.NDArray[np.float64]  # (..., 4, 2) of (x, y), around a sheet

# The development half of `tools.photographs` chose all that follows.
SIDE = 320  # pixels of the longer side, in which a sheet is looked for
WIDEST_STROKE = 1 / 16  # of the longer side; what is dark and narrower is no edge
EDGE_BLUR, EDGE_LOW, EDGE_HIGH = 2.0, 0.02, 0.06  # of Canny's edges; greys are in [0, 1]
MOST_LINES = 24  # that are tried as edges, besides the picture's own border
SHORTEST_LINE = 1 / 8  # of the longer side
APART = 6  # pixels, and twice the degrees, between two such lines
LEAST_ANGLE = 50  # degrees between neighbouring edges
LEAST_SHEET, MOST_SHEET = 0.06, 0.97  # share of the picture
SAMPLES, OFFSET = 32, 5  # points of an edge, and pixels either side of it, that are compared
STEP = 1.12  # times as bright as the table beside it
HELD = 0.5  # of an edge's points, at least, have that step; a thing may lie beside the rest
SEEN = 0.5  # of an edge, at least, is in the picture
OUTSIDE = 0.2  # of the picture's sides, that a corner may be outside it
REAL = 3  # edges that are not the picture's border
BRIGHTER = 1.2  # times the table, that paper is
LEAST_PAPER, MOST_PAPER = 0.9, 0.98  # share of a sheet that is paper
TRIED = 60  # quadrilaterals, the best by their edges
LOST = 0.015  # of a side, cut off with its edge


def straighten_sheet(picture: Image.Image) -> Image.Image | None:
    """Cuts out a sheet of paper that lies on something darker, as if seen from above.

    Of all quadrilaterals of long straight edges (Canny 1986, Hough 1962) the one counts whose sides
    have most paper on one side and something darker on the other. One of its sides may be the
    picture's border.

    Args:
        picture: 8-bit, grey or RGB.

    Returns:
        The sheet without its edges, or None if there is none.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    need("skimage", *NEEDING)
    small = ImageOps.contain(picture.convert("L"), (SIDE, SIDE), Image.Resampling.BOX)
    corners = _find_sheet(_without_strokes(np.asarray(small) / 255))
    if corners is None:
        return None
    return _warped(picture, (corners + 0.5) * (picture.width / small.width) - 0.5)


def _without_strokes(values: Scene) -> Scene:
    """Removes what is dark and narrow; beyond the border all is dark, so that it stays so there."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = round(WIDEST_STROKE * max(values.shape))
    wide = maximum_filter(values, size, mode="constant", cval=0)
    closed: Scene = minimum_filter(wide, size, mode="constant", cval=0)
    return np.where(_frame(values.shape, size // 2), values, closed)


def _frame(shape: tuple[int, ...], width: int) -> npt.NDArray[np.bool_]:
    framed = np.ones(shape, dtype=bool)
    framed[width:-width, width:-width] = False
    return framed


def _find_sheet(values: Scene) -> Corners | None:
    """Returns the corners (4, 2) of the best quadrilateral, in pixels."""
    lines = _long_lines(values)
    corners, real = _quadrilaterals(lines, values.shape)
    if not len(corners):
        return None
    held = _held(values, corners)
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    good = np.where(real, held >= HELD, True).all(axis=1) & (real.sum(axis=1) >= REAL)
    # What of a side is no edge counts against it: a thing beside the sheet is not a part of it.
    scores = np.where(good, (lengths * (2 * held - 1) * real).sum(axis=1), 0.0)
    best, highest = None, 0.0
    for number in np.argsort(-scores)[:TRIED]:
        if scores[number] <= highest:  # with paper all over it, it would not be better
            break
        score = scores[number] * _paper_share(values, corners[number])
        if score > highest:
            best, highest = corners[number], score
    return best


def _long_lines(values: Scene) -> Scene:
    """Returns lines (L, 3), (cos, sin, distance): x cos + y sin = distance; last the border's 4."""
    from skimage.feature import canny
    from skimage.transform import hough_line, hough_line_peaks

    edges = canny(values, EDGE_BLUR, EDGE_LOW, EDGE_HIGH)
    angles = np.radians(np.arange(-90.0, 90.0, 0.5))
    space, *axes = hough_line(edges, angles)
    least = SHORTEST_LINE * max(values.shape)
    peaks = hough_line_peaks(
        space, axes[0], axes[1], min_distance=APART, min_angle=4 * APART, threshold=least,
        num_peaks=MOST_LINES,
    )  # fmt: skip
    height, width = values.shape
    lines = [(np.cos(angle), np.sin(angle), d) for angle, d in zip(*peaks[1:], strict=True)]
    border = [(1.0, 0.0, 0.0), (1.0, 0.0, width - 1.0), (0.0, 1.0, 0.0), (0.0, 1.0, height - 1.0)]
    return np.array(lines + border)


def _quadrilaterals(lines: Scene, shape: tuple[int, ...]) -> tuple[Corners, npt.NDArray[np.bool_]]:
    """Returns quadrilaterals (Q, 4, 2) of lines, and which of their sides (Q, 4) are no border."""
    height, width = shape
    border = np.arange(len(lines)) >= len(lines) - 4
    angles = _angles(lines)
    crossing = angles > LEAST_ANGLE
    pairs = [(i, j) for i, j in combinations(range(len(lines)), 2) if not crossing[i, j]]
    chosen = [
        (a, c, b, d)
        for (a, b), (c, d) in combinations(pairs, 2)
        if crossing[a, c] and crossing[a, d] and crossing[b, c] and crossing[b, d]
    ]
    if not chosen:
        return np.empty((0, 4, 2)), np.empty((0, 4), dtype=bool)
    sides = np.array(chosen)  # the lines of sides, in order around
    following = np.roll(sides, -1, axis=1)
    matrices = np.stack([lines[sides][..., :2], lines[following][..., :2]], axis=-2)
    distances = np.stack([lines[sides][..., 2], lines[following][..., 2]], axis=-1)
    corners = np.linalg.solve(matrices, distances[..., None])[..., 0]
    corners = np.roll(corners, 1, axis=1)  # side i runs from corner i to corner i + 1
    most = np.array([width, height])
    inside = ((corners > -OUTSIDE * most) & (corners < (1 + OUTSIDE) * most)).all(axis=(1, 2))
    following_corners = np.roll(corners, -1, axis=1)
    areas = (_cross(corners, following_corners)).sum(axis=1) / 2
    share = np.abs(areas) / (width * height)
    kept = inside & (share >= LEAST_SHEET) & (share <= MOST_SHEET)
    # Clockwise as seen, y downwards.
    turned = np.where((areas < 0)[:, None, None], corners[:, ::-1], corners)
    real = ~border[sides]
    real = np.where((areas < 0)[:, None], np.roll(real[:, ::-1], -1, axis=1), real)
    return turned[kept], real[kept]


def _angles(lines: Scene) -> Scene:
    """Returns the angles (L, L) between lines, 0 to 90 degrees."""
    cosines = np.abs(lines[:, :2] @ lines[:, :2].T)
    angles: Scene = np.degrees(np.arccos(cosines.clip(max=1)))
    return angles


def _cross(one: Corners, other: Corners) -> Scene:
    product: Scene = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return product


def _held(values: Scene, corners: Corners) -> Scene:
    """Returns of each side (Q, 4) the share of points that have paper on the inner side only."""
    ends = np.roll(corners, -1, axis=1)
    along = ends - corners
    inwards = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    inwards /= np.maximum(np.linalg.norm(inwards, axis=-1, keepdims=True), 1e-9)
    shares = np.linspace(0.06, 0.94, SAMPLES)[:, None]
    points = corners[..., None, :] + along[..., None, :] * shares
    beside = OFFSET * inwards[..., None, :]
    inner, outer = _at(values, points + beside), _at(values, points - beside)
    seen = (~np.isnan(inner) & ~np.isnan(outer)).mean(axis=-1)
    held = (inner > STEP * outer + 0.02).mean(axis=-1)  # not of what is not seen
    share: Scene = np.where(seen >= SEEN, held / np.maximum(seen, SEEN), 0)
    return share


def _at(values: Scene, points: Scene) -> Scene:
    """Returns the values at points (..., 2), NaN outside the picture."""
    height, width = values.shape
    x, y = np.moveaxis(points.round().astype(int), -1, 0)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    samples: Scene = np.where(inside, values[y.clip(0, height - 1), x.clip(0, width - 1)], np.nan)
    return samples


def _paper_share(values: Scene, corners: Corners) -> float:
    """Returns how much of a quadrilateral (4, 2) is paper: 0 for `LEAST_PAPER` of it, 1 for most.

    Paper is brighter than what is around the quadrilateral, even where it is in shade.
    """
    from skimage.draw import polygon2mask

    mask = polygon2mask(values.shape, corners[:, ::-1])
    if mask.all() or not mask.any():
        return 0.0
    inside, around = values[mask], float(np.median(values[~mask]))
    if np.median(inside) < BRIGHTER * around:
        return 0.0
    share = float((inside > BRIGHTER * around).mean())
    return float(np.clip((share - LEAST_PAPER) / (MOST_PAPER - LEAST_PAPER), 0, 1))


def _warped(picture: Image.Image, corners: Corners) -> Image.Image:
    """Straightens the quadrilateral of corners (4, 2), without its edges.

    What of it is outside the picture has the colours of the picture's border there.
    """
    over = round(max(0, -corners.min(), *(corners.max(axis=0) - picture.size))) + 2
    pixels = np.asarray(picture)
    around = [(over, over), (over, over), (0, 0)][: pixels.ndim]
    picture, corners = Image.fromarray(np.pad(pixels, around, mode="edge")), corners + over
    first = int(np.argmin(corners.sum(axis=1)))
    corners = np.roll(corners, -first, axis=0)  # from the upper left one, clockwise
    lengths = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = lengths[[0, 2]].mean(), lengths[[1, 3]].mean()
    x, y = LOST * width, LOST * height
    target = np.array([[-x, -y], [width + x, -y], [width + x, height + y], [-x, height + y]])
    coefficients = _projection(target, corners)
    size = round(float(width)), round(float(height))
    return picture.transform(
        size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
    )


def _projection(target: Corners, source: Corners) -> list[float]:
    """Returns Pillow's eight coefficients of the projection that takes targets to sources."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        values += [u, v]
    coefficients: list[float] = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return coefficients
