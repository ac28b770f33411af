"""Light that falls unevenly on paper, as in a photograph: evened out, and not taken for ink."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

CELLS = 32  # a side, that the light is told apart in
REACH = 11  # cells; no stroke is as wide, so paper is found beside it
DARKEST = 1 / 3  # of the brightest; what seems darker is ink, not shade
EVEN = 1 / 64  # of the brightest; a border that varies less is of a drawing or a scan, evenly lit
GRAIN, AROUND = 96, 8  # pixels a side, and the radius of what is around one, to tell ink in
CLEAR = 1.0  # skewness from which what is rare is clearly on one side

Levels = npt.NDArray[np.float32]


def even_out(picture: Image.Image) -> Image.Image:
    """The picture as if its paper were equally light all over.

    Divided by the light on its paper: the picture in coarse cells, strokes closed by the paper
    around them (a morphological closing), smoothed. One that is evenly lit along its border stays
    as it is, and so does one of black and white only.

    Args:
        picture: 8-bit grey, dark ink on light paper.
    """
    cells = np.asarray(picture.resize((CELLS, CELLS), Image.Resampling.BOX))
    border = np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]])
    if int(border.max()) - int(border.min()) <= EVEN * int(border.max()):
        return picture
    smooth = Image.fromarray(_paper(cells)).filter(ImageFilter.GaussianBlur(1))
    light = _levels(smooth.resize(picture.size, Image.Resampling.BILINEAR))
    light = np.maximum(light, max(1.0, float(light.max()) * DARKEST))
    evened = _levels(picture) / light * 255
    return Image.fromarray(evened.clip(0, 255).round().astype(np.uint8))


def _paper(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The cells without strokes."""
    margin = REACH - 1  # Pillow goes on beyond the border between its two filters otherwise
    wide = Image.fromarray(np.pad(cells, margin, mode="edge"))
    closed = wide.filter(ImageFilter.MaxFilter(REACH)).filter(ImageFilter.MinFilter(REACH))
    return np.asarray(closed)[margin:-margin, margin:-margin]


def rare_side(picture: Image.Image) -> int:
    """Whether the few pixels that differ from those around them are darker or lighter.

    By the skewness of what each pixel differs by, which light that changes slowly leaves alone.

    Returns:
        -1: darker, as ink on paper is; 1: lighter, as chalk on a board; 0: not clear.
    """
    small = picture.resize((GRAIN, GRAIN), Image.Resampling.BOX)
    around = small.filter(ImageFilter.BoxBlur(AROUND))
    differs = _levels(small) - _levels(around)
    spread = float(differs.std())
    if spread == 0:
        return 0
    skewness = float((((differs - differs.mean()) / spread) ** 3).mean())
    return 0 if abs(skewness) < CLEAR else 1 if skewness > 0 else -1


def _levels(picture: Image.Image) -> Levels:
    return np.asarray(picture, dtype=np.float32)
