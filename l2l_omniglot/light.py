"""Light that falls unevenly on paper, as in a photograph, evened out."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

CELLS = 32  # a side, that the light is told apart in
REACH = 11  # cells; no stroke is as wide, so paper is found beside it
DARKEST = 1 / 3  # of the brightest; what seems darker is ink, not shade


def even_out(picture: Image.Image) -> Image.Image:
    """The picture as if its paper were equally light all over.

    Divided by the light on its paper: the picture in coarse cells, strokes closed by the paper
    around them (a morphological closing), smoothed. Black stays black and white stays white, so
    a drawing of these two is as before.

    Args:
        picture: 8-bit grey, dark ink on light paper.
    """
    cells = picture.resize((CELLS, CELLS), Image.Resampling.BOX)
    paper = cells.filter(ImageFilter.MaxFilter(REACH)).filter(ImageFilter.MinFilter(REACH))
    smooth = paper.filter(ImageFilter.GaussianBlur(1)).resize(
        picture.size, Image.Resampling.BILINEAR
    )
    light = np.asarray(smooth, dtype=np.float32)
    light = np.maximum(light, max(1.0, float(light.max()) * DARKEST))
    evened = np.asarray(picture, dtype=np.float32) / light * 255
    return Image.fromarray(evened.clip(0, 255).round().astype(np.uint8))
