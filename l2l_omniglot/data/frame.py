"""Size, place and pen of a drawing's ink, and its redrawing as Omniglot's drawings are."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from l2l_omniglot.errors import need

RAW_SIZE = 105  # pixels a side, of Omniglot's drawings
# Shares of a picture's side. The ink's longer side is 67 of 105 pixels on average over all 32,460
# drawings of Omniglot. Within the bounds are 98.5 % of the 2,000 drawings of its validation
# classes, whose pens are 5.3 pixels wide in the median, 4.9 to 6.8 in 99 %.
LONGER_SIDE, SHORTEST, LONGEST = 67 / RAW_SIZE, 28 / RAW_SIZE, 100 / RAW_SIZE
OFF_CENTRE = 20 / RAW_SIZE
THINNEST, WIDEST = 4.2 / RAW_SIZE, 7.2 / RAW_SIZE
PEN = 4.5  # pixels of 105, that ink is redrawn with; validation tasks like 3.75 and 5.25 less
SOLID = 0.3  # of its longer side: ink that is wider is a shape, not the line of a pen
FINER = 3  # times Omniglot's resolution, at which ink is redrawn
FADING = 1.5  # pixels: strokes that a smaller picture makes thinner fade in it
MARGIN = 2  # pixels of paper put around a picture that is to be enlarged
MIDDLE, PAPER = 128, 255
NEEDING = "a photograph, or a picture to be redrawn,", "pictures"  # scikit-image, and its extra


class Frame(NamedTuple):
    """How ink lies in its picture, in widths of the picture.

    Attributes:
        longer: the longer side of the ink's bounding box; 0 where there is no ink.
        off: how far its centre is from the picture's, along the worse axis.
        pen: the width of the pen.
    """

    longer: float
    off: float
    pen: float

    @property
    def usual(self) -> bool:
        """Returns whether nearly all drawings of Omniglot lie so."""
        sized = SHORTEST <= self.longer <= LONGEST and self.off <= OFF_CENTRE
        return sized and THINNEST <= self.pen <= WIDEST


def measure(level: Image.Image) -> Frame:
    """Measures ink, what is darker than 128, on white paper (8-bit grey)."""
    from scipy.ndimage import distance_transform_edt

    ink = np.asarray(level) < MIDDLE
    if not ink.any():
        return Frame(0.0, 0.0, 0.0)
    left, upper, right, lower = ink_box(level)
    off = max(abs(left + right - level.width), abs(upper + lower - level.height)) / 2
    # Across a line the distance to the next pixel of paper rises from 1 to half of its width.
    pen = 4 * float(distance_transform_edt(ink)[ink].mean()) - 2
    return Frame(*(value / level.width for value in (max(right - left, lower - upper), off, pen)))


def ink_box(level: Image.Image) -> tuple[int, int, int, int]:
    """Returns the left, upper, right and lower edge of the ink; of a blank picture all of it."""
    box = ImageOps.invert(level).point(lambda v: v >= MIDDLE and PAPER).getbbox()
    return box or (0, 0, *level.size)


def redraw(level: Image.Image) -> Image.Image:
    """Centres ink on square paper, as large as Omniglot's on average, drawn with one pen.

    Args:
        level: 8-bit grey, black ink on white paper.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    large = _enlarged(level)
    cut = large.crop(ink_box(large))
    longer, side = round(LONGER_SIDE * RAW_SIZE * FINER), RAW_SIZE * FINER
    scale = (longer - PEN * FINER) / max(cut.size)
    size = max(1, round(scale * cut.width)), max(1, round(scale * cut.height))
    paper = Image.new("L", (side, side), PAPER)
    paper.paste(_shrunk(cut, size), ((side - size[0]) // 2, (side - size[1]) // 2))
    frame = measure(paper)
    return paper if frame.pen > SOLID * frame.longer else even_pen(paper, PEN * FINER)


def _enlarged(level: Image.Image) -> Image.Image:
    """Enlarges a picture smaller than Omniglot's, in which a pixel is a coarse measure.

    Lanczos' filter keeps thin strokes apart; the margin lets ink at the border end there.
    """
    times = -(-RAW_SIZE // max(level.size))
    if times == 1:
        return level
    wide = ImageOps.expand(level, MARGIN, PAPER)
    return wide.resize((wide.width * times, wide.height * times), Image.Resampling.LANCZOS)


def _shrunk(level: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes ink; strokes that would fade are thickened before."""
    times = max(level.width / size[0], level.height / size[1])
    if times > 1 and measure(level).pen * level.width < FADING * times:
        level = level.filter(ImageFilter.MinFilter(2 * math.ceil(times / 2) + 1))
    return level.resize(size)


def even_pen(level: Image.Image, width: float) -> Image.Image:
    """Redraws ink along its middle line, with a pen of one width.

    Args:
        level: 8-bit grey; ink is what is darker than 128.
        width: of the pen, in pixels.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    need("skimage", *NEEDING)
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    lines = skeletonize(np.asarray(level) < MIDDLE)
    if not lines.any():
        return Image.new("L", level.size, PAPER)
    distance = distance_transform_edt(~lines)
    return Image.fromarray((PAPER * (distance - width / 2 + 0.5).clip(0, 1)).astype(np.uint8))
