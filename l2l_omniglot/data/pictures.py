"""A person's own pictures: read, evenly lit, and brought to the look of Omniglot's drawings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from l2l_omniglot.errors import DataError, check_choice

if TYPE_CHECKING:
    import torch

RAW_SIZE = 105  # pixels a side, of Omniglot's drawings
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".webp")
INKS = ("auto", "dark", "light")
FITS = ("auto", "always", "never")
# Of the 105 pixels a side that Omniglot's drawings have, measured over all 32,460 of them: the
# ink's longer side is 67 on average and from 33 to 95 in 98 of 100; in as many its middle is at
# most 16.5 from the picture's, either way.
LONGER_SIDE, SHORTEST, LONGEST = 67 / RAW_SIZE, 33 / RAW_SIZE, 95 / RAW_SIZE
OFF_CENTRE = 16.5 / RAW_SIZE
MOST_NARROW = 100  # longer by shorter side; made square it would have that many times the pixels
LEAST_CONTRAST = 16  # of 255, between ink and paper
MOST_SIDE = 1050  # pixels kept a side, ten times Omniglot's, so that many photographs fit in memory
PAPER, MIDDLE = 255, 128
CELLS = 32  # a side, that the light is told apart in
REACH = 11  # cells; no stroke is as wide, so paper is found beside it
DARKEST = 1 / 3  # of the brightest; what seems darker is ink, not shade
EVEN = 1 / 64  # of the brightest; a border that varies less is of a drawing or a scan, evenly lit
GRAIN, AROUND = 96, 8  # pixels a side, and the radius of what is around one, to tell ink in
CLEAR = 1.0  # skewness from which what is rare is clearly on one side

Pixels: TypeAlias = npt.NDArray[np.uint8]
Levels: TypeAlias = npt.NDArray[np.float32]


def read_picture(path: Path, ink: str = "auto") -> Image.Image:
    """Reads a picture as 8-bit grey: dark ink on white paper.

    The first frame of several, turned as its EXIF data says, on white where it is transparent
    (on black, where all that is not transparent is light).

    Args:
        path: PNG, JPEG, GIF, TIFF, BMP or WebP file, or whatever else Pillow reads.
        ink: which end of the grey values is ink; ``auto`` takes what is rare for it, or else
            what differs from the border.

    Returns:
        The picture, shrunk to at most `MOST_SIDE` pixels a side.

    Raises:
        DataError: if the file is missing, broken, of more than 178 million pixels, or shows
            nothing.
    """
    check_choice("--picture-ink", ink, INKS)
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a plain file")
        with warnings.catch_warnings():
            # Pillow warns from 89 million pixels on, and refuses from twice as many.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # broken EXIF and the like
            with Image.open(path) as image:
                grey = _flatten(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # Pillow and its decoders raise many kinds
        raise DataError(f"{path}: not a readable picture: {error}") from error
    if max(grey.size) > MOST_NARROW * min(grey.size):
        raise DataError(
            f"{path}: {grey.width} x {grey.height} pixels: expected a less narrow picture"
        )
    grey.thumbnail((MOST_SIDE, MOST_SIDE))
    if _is_blank(grey):
        lowest, highest = grey.getextrema()
        raise DataError(f"{path}: shows nothing: grey values from {lowest} to {highest}")
    light = ink == "light" or (ink == "auto" and _is_light(grey))
    shown = [grey, ImageOps.invert(grey)] if light else [grey]
    if any(_is_blank(flatten_illumination(picture)) for picture in shown):
        raise DataError(f"{path}: shows nothing but light and shade")
    return shown[-1]


def _flatten(image: Image.Image) -> Image.Image:
    """Turns a picture grey, on paper where it is transparent."""
    if image.mode in {"I", "I;16", "F"}:  # 16 bits and more: their own range becomes 0 to 255
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("has pixels that are no finite number")
        span = values.max() - values.min()
        if span < LEAST_CONTRAST / PAPER * abs(values).max():
            return Image.new("L", image.size, PAPER)  # shows nothing
        return Image.fromarray(((values - values.min()) / span * PAPER).astype(np.uint8))
    if image.mode == "LAB":
        return image.getchannel("L")
    if not image.has_transparency_data:
        return image.convert("L")
    layers = image.convert("LA")
    grey, alpha = (np.asarray(layer) for layer in layers.split())
    drawn = grey[alpha > MIDDLE]
    paper = 0 if len(drawn) and drawn.min() > MIDDLE else PAPER
    sheet = Image.new("L", image.size, paper)
    sheet.paste(layers.getchannel(0), mask=layers.getchannel(1))
    return sheet


def _is_blank(grey: Image.Image) -> bool:
    lowest, highest = grey.getextrema()
    return highest - lowest < LEAST_CONTRAST  # type: ignore[operator]


def _is_light(grey: Image.Image) -> bool:
    """Whether the ink is lighter than the paper.

    Ink is rare; where that is not clear, in drawings of thick strokes, the paper is the end of
    the picture's own range that its border is nearer to.
    """
    polarity = ink_polarity(grey)
    lowest, highest = grey.getextrema()
    border = float(np.median(_border(np.asarray(grey))))
    return polarity > 0 if polarity else 2 * border < lowest + highest  # type: ignore[operator]


def _border(pixels: Pixels) -> Pixels:
    """Returns the grey values along the border."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def flatten_illumination(picture: Image.Image) -> Image.Image:
    """Takes uneven light off a picture, such as a shadow on the paper of a photograph.

    Divides by the light on its paper: the picture in coarse cells, strokes closed by the paper
    around them (a morphological closing), smoothed. One that is evenly lit along its border stays
    as it is, and so does one of black and white only.

    Args:
        picture: 8-bit grey, dark ink on light paper.
    """
    cells = np.asarray(picture.resize((CELLS, CELLS), Image.Resampling.BOX))
    border = _border(cells)
    if int(border.max()) - int(border.min()) <= EVEN * int(border.max()):
        return picture
    smooth = Image.fromarray(_paper(cells)).filter(ImageFilter.GaussianBlur(1))
    light = _levels(smooth.resize(picture.size, Image.Resampling.BILINEAR))
    light = np.maximum(light, max(1.0, float(light.max()) * DARKEST))
    evened = _levels(picture) / light * 255
    return Image.fromarray(evened.clip(0, 255).round().astype(np.uint8))


def _paper(cells: Pixels) -> Pixels:
    """Removes the strokes from the cells."""
    margin = REACH - 1  # Pillow goes on beyond the border between its two filters otherwise
    wide = Image.fromarray(np.pad(cells, margin, mode="edge"))
    closed = wide.filter(ImageFilter.MaxFilter(REACH)).filter(ImageFilter.MinFilter(REACH))
    return np.asarray(closed)[margin:-margin, margin:-margin]


def ink_polarity(picture: Image.Image) -> int:
    """Tells whether ink is darker or lighter than paper: it is what few pixels are.

    Judges by the skewness of what each pixel differs by from those around it, which light that
    changes slowly leaves alone.

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


def is_centred(pictures: Sequence[Image.Image]) -> bool:
    """Whether pictures are square, and their ink as large and as central as Omniglot's.

    Judged by the middle of each measure over all pictures, since a single drawing of Omniglot's
    may be as small and as far from the centre as can be.
    """
    if any(picture.width != picture.height for picture in pictures):
        return False
    size, offset = np.median([_measure(picture) for picture in pictures], axis=0)
    return bool(SHORTEST <= size <= LONGEST and offset <= OFF_CENTRE)


def _measure(picture: Image.Image) -> tuple[float, float]:
    """Returns the ink's longer side and its middle's offset, in widths of the picture."""
    left, upper, right, lower = _ink_box(stretch(picture))
    width, height = picture.size
    offset = max(abs(left + right - width), abs(upper + lower - height)) / 2
    return max(right - left, lower - upper) / width, offset / width


def stretch(picture: Image.Image) -> Image.Image:
    """Lights a picture evenly and stretches its grey values: paper is white, ink black."""
    return ImageOps.autocontrast(flatten_illumination(picture))


def centre_and_scale(picture: Image.Image) -> Image.Image:
    """Centres a picture's ink, stretched, on square paper, as large as Omniglot's on average."""
    level = stretch(picture)
    cut = level.crop(_ink_box(level))
    side = round(max(cut.size) / LONGER_SIDE)
    paper = Image.new("L", (side, side), PAPER)
    paper.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return paper


def _ink_box(level: Image.Image) -> tuple[int, int, int, int]:
    """Returns left, upper, right and lower edge of what is darker than the middle."""
    box = ImageOps.invert(level).point(lambda v: v >= MIDDLE and PAPER).getbbox()
    assert box is not None  # its darkest pixel is ink
    return box


def shrink(grey: Image.Image, image_size: int) -> Pixels:
    """Scales an 8-bit grey image, whatever its size, to shape (image_size, image_size)."""
    return np.asarray(grey.resize((image_size, image_size), Image.Resampling.BICUBIC))


def to_images(pictures: Sequence[Image.Image], image_size: int, ink: str) -> torch.Tensor:
    """Turns pictures into images as the network takes them.

    Args:
        pictures: B, 8-bit grey, dark on white.
        image_size: pixels a side that they are shrunk to.
        ink: what ink is to the network: ``white`` is 1, ``black`` is 0.

    Returns:
        float32 (B, 1, image_size, image_size) in [0, 1].
    """
    import torch  # not sooner: what is wrong with a folder is told at once

    pixels = np.stack([shrink(picture, image_size) for picture in pictures])[:, None]
    images = torch.from_numpy(pixels.astype(np.float32)).mul_(1.0 / 255.0)
    return 1 - images if ink == "white" else images
