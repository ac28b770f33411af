"""Reads a person's own pictures and makes them look like Omniglot's drawings."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from l2l_omniglot._util.reading import MOST_PICTURE, read_bytes
from l2l_omniglot.data.photographs import cut_out_paper, even_pen, find_ink
from l2l_omniglot.errors import DataError, check_choice

if TYPE_CHECKING:
    import torch

RAW_SIZE = 105  # pixels a side, of Omniglot's drawings
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".webp")
INKS = ("auto", "dark", "light")
FITS = ("auto", "always", "never")
# Shares of a picture's side, measured over all 32,460 drawings of Omniglot: the ink's longer side
# is 67 of 105 pixels on average and 33 to 95 in 98 % of drawings; its centre is at most 16.5 from
# the picture's in as many, along either axis.
LONGER_SIDE, SHORTEST, LONGEST = 67 / RAW_SIZE, 33 / RAW_SIZE, 95 / RAW_SIZE
OFF_CENTRE = 16.5 / RAW_SIZE
MOST_NARROW = 100  # longer by shorter side; made square it would have that many times the pixels
LEAST_CONTRAST = 16  # of 255, between ink and paper
MOST_SIDE = 1050  # pixels kept a side, ten times Omniglot's, so that many photographs fit in memory
PAPER, MIDDLE = 255, 128
GRID = 32  # cells a side, in whose greys lighting is judged
FINER = 3  # times Omniglot's resolution, at which ink is redrawn
PEN = 4.5  # pixels of 105; validation tasks like it better than the 3 of Omniglot's pens
MARGIN = 2  # pixels of paper put around a picture that is to be enlarged
TOUCHED = 0.1  # of the border, may have another grey: ink
EVEN = 1 / 64  # of the brightest; a border that varies less is evenly lit
GRAIN, AROUND = 96, 8  # pixels a side, and the radius of a pixel's surroundings, to find ink in
CUT_OUT = "cut out"  # in a picture's info: whether its paper was cut out of it
CLEAR = 1.0  # skewness from which the polarity of ink is clear

Pixels: TypeAlias = npt.NDArray[np.uint8]
Levels: TypeAlias = npt.NDArray[np.float32]


def read_picture(path: Path, ink: str = "auto") -> Image.Image:
    """Reads a picture as 8-bit grey: dark ink on white paper.

    Takes the first frame, turned as its EXIF data says and shrunk to `MOST_SIDE` pixels a side.
    Transparent parts become white, or black where all opaque parts are light.

    Args:
        path: PNG, JPEG, GIF, TIFF, BMP or WebP file, or whatever else Pillow reads.
        ink: ``dark``, ``light``, or ``auto``: the minority shade, or where that is not clear,
            the shade that differs from the border.

    Raises:
        DataError: if the file is missing, broken, of more than 178 million pixels, too narrow
            or blank.
    """
    check_choice("ink", ink, INKS)
    try:
        content = io.BytesIO(read_bytes(path, MOST_PICTURE))
        with warnings.catch_warnings():
            # Pillow warns from 89 million pixels on, and refuses from twice as many.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # broken EXIF and the like
            with Image.open(content) as image:
                grey = _flatten(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # Pillow and its decoders raise many kinds
        raise DataError(f"{path}: not a readable picture: {error}") from error
    return _find_drawing(grey, str(path), ink)


def as_drawing(image: Image.Image, name: str, ink: str = "auto") -> Image.Image:
    """Makes of an image in memory what `read_picture` makes of a file; errors name it.

    Raises:
        DataError: see `read_picture`.
    """
    check_choice("ink", ink, INKS)
    try:
        grey = _flatten(ImageOps.exif_transpose(image))
    except Exception as error:
        raise DataError(f"{name}: not a readable picture: {error}") from error
    return _find_drawing(grey, name, ink)


def _find_drawing(grey: Image.Image, path: str, ink: str) -> Image.Image:
    if max(grey.size) > MOST_NARROW * min(grey.size):
        raise DataError(f"{path}: {grey.width} x {grey.height} pixels: too narrow")
    grey.thumbnail((MOST_SIDE, MOST_SIDE))
    if _is_blank(grey):
        lowest, highest = grey.getextrema()
        raise DataError(f"{path}: blank picture, with grey values from {lowest} to {highest}")
    even = is_evenly_lit(grey)
    sheet = None if even else cut_out_paper(grey)
    grey = grey if sheet is None else sheet
    if ink == "light" or (ink == "auto" and _is_light(grey)):
        # Chalk is bright where the light is; square roots bring its greys closer together.
        grey = ImageOps.invert(grey if even else grey.point(lambda v: math.sqrt(PAPER * v)))
    if _is_blank(clean(grey)):
        raise DataError(f"{path}: blank picture, except for light and shade")
    grey.info[CUT_OUT] = sheet is not None
    return grey


def _flatten(image: Image.Image) -> Image.Image:
    """Converts a picture to 8-bit grey, with paper where it is transparent."""
    if image.mode in {"I", "I;16", "F"}:  # 16 bits and more: their own range becomes 0 to 255
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("has pixels that are not finite")
        span = values.max() - values.min()
        if span < LEAST_CONTRAST / PAPER * abs(values).max():
            return Image.new("L", image.size, PAPER)  # blank
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
    """Tells whether ink is lighter than paper.

    Where `ink_polarity` is not clear, as in drawings of thick strokes, paper is the end of the
    picture's range that its border is closer to.
    """
    polarity = ink_polarity(grey)
    lowest, highest = grey.getextrema()
    border = float(np.median(_border(np.asarray(grey))))
    return polarity > 0 if polarity else 2 * border < lowest + highest  # type: ignore[operator]


def _border(pixels: Pixels) -> Pixels:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def is_evenly_lit(picture: Image.Image) -> bool:
    """Tells whether a picture is a scan or a drawing program's, not a photograph.

    Its border then has one grey, except where ink touches it. A picture of fewer pixels than cells
    counts as evenly lit.
    """
    if max(picture.size) < GRID:
        return True
    border = _border(np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX)))
    darker, brighter = np.quantile(border, [TOUCHED, 1 - TOUCHED])
    return bool(brighter - darker <= EVEN * brighter)


def ink_polarity(picture: Image.Image) -> int:
    """Returns -1 if ink is darker than paper, 1 if it is lighter, 0 if that is not clear.

    Ink is the minority shade: judged by the skewness of each pixel's difference from its
    surroundings, on which slowly changing light has no effect.
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


def is_photograph(picture: Image.Image) -> bool:
    """Tells whether a picture is no drawing of its own: not square, or unevenly lit."""
    return picture.width != picture.height or not is_evenly_lit(picture)


def is_centred(pictures: Sequence[Image.Image]) -> bool:
    """Tells whether drawings are as large and as central as Omniglot's.

    The median over all pictures decides, since a single drawing may be small or off-centre.
    """
    measured = []  # the ink's longer side and its centre's offset, in widths of the picture
    for picture in pictures:
        left, upper, right, lower = _ink_box(clean(picture))
        width = picture.width
        offset = max(abs(left + right - width), abs(upper + lower - width)) / 2
        measured.append((max(right - left, lower - upper) / width, offset / width))
    size, offset = np.median(measured, axis=0)
    return bool(SHORTEST <= size <= LONGEST and offset <= OFF_CENTRE)


def clean(picture: Image.Image) -> Image.Image:
    """Makes paper white and ink black: of a photograph by finding the ink, else by stretching.

    Raises:
        SettingsError: if it is a photograph, and scikit-image is not installed.
    """
    return ImageOps.autocontrast(picture) if is_evenly_lit(picture) else find_ink(picture)


def centre_and_scale(picture: Image.Image) -> Image.Image:
    """Centres the ink on square paper, as large as Omniglot's on average, drawn with one pen.

    Raises:
        SettingsError: if scikit-image is not installed.
    """
    level = _enlarge(clean(picture))
    cut = level.crop(_ink_box(level))
    longer, side = round(LONGER_SIDE * RAW_SIZE * FINER), RAW_SIZE * FINER
    scale = (longer - PEN * FINER) / max(cut.size)
    size = [max(1, round(scale * length)) for length in cut.size]
    paper = Image.new("L", (side, side), PAPER)
    paper.paste(cut.resize(size), ((side - size[0]) // 2, (side - size[1]) // 2))
    return even_pen(paper, PEN * FINER)


def _enlarge(level: Image.Image) -> Image.Image:
    """Enlarges a stretched picture smaller than Omniglot's, in which a pixel is a coarse measure.

    Lanczos' filter keeps thin strokes apart; the margin lets ink at the border end there.
    """
    times = -(-RAW_SIZE // max(level.size))
    if times == 1:
        return level
    wide = ImageOps.expand(level, MARGIN, PAPER)
    return wide.resize((wide.width * times, wide.height * times), Image.Resampling.LANCZOS)


def _ink_box(level: Image.Image) -> tuple[int, int, int, int]:
    """Returns the left, upper, right and lower edge of the ink; of a blank picture all of it."""
    box = ImageOps.invert(level).point(lambda v: v >= MIDDLE and PAPER).getbbox()
    return box or (0, 0, *level.size)


def shrink(grey: Image.Image, image_size: int) -> Pixels:
    """Scales an 8-bit grey image, whatever its size, to shape (image_size, image_size)."""
    return np.asarray(grey.resize((image_size, image_size), Image.Resampling.BICUBIC))


def to_images(pictures: Sequence[Image.Image], image_size: int, ink: str) -> torch.Tensor:
    """Converts B pictures, 8-bit grey and dark on white, to the network's input.

    That is float32 (B, 1, image_size, image_size) in [0, 1]; `ink` is ``white`` (1) or ``black``.
    """
    import torch  # late, so that errors in a folder are reported at once

    pixels = np.stack([shrink(picture, image_size) for picture in pictures])[:, None]
    images = torch.from_numpy(pixels.astype(np.float32)).mul_(1.0 / 255.0)
    return 1 - images if ink == "white" else images
