"""A person's own pictures, made to look to the network as Omniglot's drawings do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from l2l_omniglot.errors import DataError, check_name
from l2l_omniglot.light import even_out, rare_side
from l2l_omniglot.prepare import RAW_SIZE, shrink

if TYPE_CHECKING:
    import torch

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

Grey = npt.NDArray[np.uint8]


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
    check_name("--picture-ink", ink, INKS)
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
            f"{path}: {grey.width} x {grey.height} pixels: needed a less narrow picture"
        )
    grey.thumbnail((MOST_SIDE, MOST_SIDE))
    if _is_blank(grey):
        lowest, highest = grey.getextrema()
        raise DataError(f"{path}: shows nothing: grey values from {lowest} to {highest}")
    light = ink == "light" or (ink == "auto" and _is_light(grey))
    shown = [grey, ImageOps.invert(grey)] if light else [grey]
    if any(_is_blank(even_out(picture)) for picture in shown):
        raise DataError(f"{path}: shows nothing but light and shade")
    return shown[-1]


def _flatten(image: Image.Image) -> Image.Image:
    """The picture in grey, put on paper where it is transparent."""
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
    side = rare_side(grey)
    lowest, highest = grey.getextrema()
    return side > 0 if side else 2 * _border(grey) < lowest + highest  # type: ignore[operator]


def _border(grey: Image.Image) -> float:
    """The grey value in the middle of those along the border."""
    pixels = np.asarray(grey)
    edges = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    return float(np.median(np.concatenate(edges)))


def like_omniglot(pictures: Sequence[Image.Image]) -> bool:
    """Whether pictures can be left as they are: square, and drawn as large and as central.

    Judged by the middle of each measure over all pictures, since a single drawing of Omniglot's
    may be as small and as far from the centre as can be.
    """
    if any(picture.width != picture.height for picture in pictures):
        return False
    size, offset = np.median([_measure(picture) for picture in pictures], axis=0)
    return bool(SHORTEST <= size <= LONGEST and offset <= OFF_CENTRE)


def _measure(picture: Image.Image) -> tuple[float, float]:
    """The ink's longer side and its middle's offset, in widths of the picture."""
    left, upper, right, lower = _ink_box(stretch(picture))
    width, height = picture.size
    offset = max(abs(left + right - width), abs(upper + lower - height)) / 2
    return max(right - left, lower - upper) / width, offset / width


def stretch(picture: Image.Image) -> Image.Image:
    """The picture evenly lit, its grey values stretched, so that paper is white and ink black."""
    return ImageOps.autocontrast(even_out(picture))


def fit(picture: Image.Image) -> Image.Image:
    """The picture's ink, stretched, centred on square paper, as large as Omniglot's on average."""
    level = stretch(picture)
    cut = level.crop(_ink_box(level))
    side = round(max(cut.size) / LONGER_SIDE)
    paper = Image.new("L", (side, side), PAPER)
    paper.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return paper


def _ink_box(level: Image.Image) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of what is darker than the middle, once stretched."""
    box = ImageOps.invert(level).point(lambda v: v >= MIDDLE and PAPER).getbbox()
    assert box is not None  # its darkest pixel is ink
    return box


def to_images(pictures: Sequence[Image.Image], image_size: int, ink: str) -> torch.Tensor:
    """Pictures as the network takes them.

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
