"""Light and polarity of a picture: evenly lit or photographed, dark ink or light."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

Pixels: TypeAlias = npt.NDArray[np.uint8]

LEAST_CONTRAST = 16  # of 255, between ink and paper
WHITE = 255
GRID = 32  # cells a side, in whose greys lighting is judged
TOUCHED = 0.1  # of the border, may have another grey: ink
EVEN = 1 / 64  # of the brightest; a border that varies less is evenly lit
GRAIN, AROUND = 96, 8  # pixels a side, and the radius of a pixel's surroundings, to find ink in
CLEAR = 1.0  # skewness from which the polarity of ink is clear


def is_blank(grey: Image.Image) -> bool:
    """Returns whether a picture (8-bit grey) has nearly one grey only."""
    lowest, highest = grey.getextrema()
    return highest - lowest < LEAST_CONTRAST  # type: ignore[operator]


def is_evenly_lit(grey: Image.Image) -> bool:
    """Returns whether a picture is a scan or a drawing program's, not a photograph.

    Its border then has one grey, except where ink touches it. A picture of fewer pixels than cells
    counts as evenly lit.
    """
    if max(grey.size) < GRID:
        return True
    border = _border(np.asarray(grey.resize((GRID, GRID), Image.Resampling.BOX)))
    darker, brighter = np.quantile(border, [TOUCHED, 1 - TOUCHED])
    return bool(brighter - darker <= EVEN * brighter)


def ink_is_light(pictures: Sequence[Image.Image]) -> bool:
    """Returns whether the ink of pictures (8-bit grey) of one kind is lighter than their paper.

    Where `ink_polarity` is not clear, as in drawings of thick strokes, paper is the end of the
    range that the borders are closer to.
    """
    if polarity := sum(map(ink_polarity, pictures)):
        return polarity > 0
    arrays = [np.asarray(picture) for picture in pictures]
    lowest, highest = min(map(np.min, arrays)), max(map(np.max, arrays))
    border = np.median(np.concatenate([_border(array) for array in arrays]))
    return bool(2 * border < float(lowest) + float(highest))


def ink_polarity(grey: Image.Image) -> int:
    """Returns -1 if ink is darker than paper, 1 if it is lighter, 0 if that is not clear.

    Ink is the minority shade: judged by the skewness of each pixel's difference from its
    surroundings, on which slowly changing light has no effect.
    """
    small = grey.resize((GRAIN, GRAIN), Image.Resampling.BOX)
    around = small.filter(ImageFilter.BoxBlur(AROUND))
    differs = np.asarray(small, dtype=np.float32) - np.asarray(around, dtype=np.float32)
    spread = float(differs.std())
    if spread == 0:
        return 0
    skewness = float((((differs - differs.mean()) / spread) ** 3).mean())
    return 0 if abs(skewness) < CLEAR else 1 if skewness > 0 else -1


def inverted(grey: Image.Image, even: bool) -> Image.Image:
    """Turns light ink into dark: 8-bit grey.

    Chalk is bright where the light is; square roots bring its greys closer together.
    """
    return ImageOps.invert(grey if even else grey.point(lambda v: math.sqrt(WHITE * v)))


def _border(pixels: Pixels) -> Pixels:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
