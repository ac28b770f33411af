"""Reads a person's own pictures, as drawings or as they are; makes a network's images of them."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from l2l_omniglot._util.reading import MOST_PICTURE, read_bytes, reason_of
from l2l_omniglot.data import DRAWINGS, IMAGES, INKS, KINDS
from l2l_omniglot.data.drawing import MOST_SIDE, Drawing, check_shape, find_drawing
from l2l_omniglot.data.frame import MIDDLE, PAPER
from l2l_omniglot.data.light import LEAST_CONTRAST, Pixels
from l2l_omniglot.data.plain import Plain, as_it_is
from l2l_omniglot.errors import DataError, check_choice

if TYPE_CHECKING:
    import torch

Picture: TypeAlias = Drawing | Plain

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".webp")
ROWS = 64  # of a picture of numbers that are looked at together


class Look(NamedTuple):
    """A picture, and what the network saw of it: uint8 (H, W), or (H, W, 3) in colour."""

    picture: Picture
    seen: Pixels


def read_picture(
    path: Path, ink: str = "auto", kind: str = DRAWINGS, most_pixels: int | None = None
) -> Picture:
    """Reads a picture, and finds the drawing in it if it is to be one.

    Takes the first frame, rotated as its EXIF data says. Transparent parts become white, or black
    where all opaque parts are light.

    Args:
        path: PNG, JPEG, GIF, TIFF, BMP or WebP file, or whatever else Pillow reads.
        ink: of drawings, see `find_drawing`.
        kind: one of `l2l_omniglot.data.KINDS`.
        most_pixels: 178 million by default.

    Raises:
        DataError: if the file is missing, broken, of more than 178 million pixels, too narrow
            or, as a drawing, blank.
        SettingsError: if it is a photograph, and scikit-image is not installed.
    """
    _check(ink, kind)
    try:
        content = read_bytes(path, MOST_PICTURE)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable picture: {reason_of(error)}") from error
    return parse_picture(content, str(path), ink, kind, most_pixels=most_pixels)


def _check(ink: str, kind: str) -> None:
    check_choice("ink", ink, INKS)
    check_choice("kind", kind, KINDS)


def parse_picture(
    content: bytes,
    name: str,
    ink: str = "auto",
    kind: str = DRAWINGS,
    formats: tuple[str, ...] | None = None,
    most_pixels: int | None = None,
) -> Picture:
    """Makes of a file's content what `read_picture` makes of the file; errors name it.

    Args:
        content: of the file.
        name: of the picture, for errors.
        ink: see `read_picture`.
        kind: see `read_picture`.
        formats: Pillow's names of those it may have; all that Pillow reads by default.
        most_pixels: 178 million by default.

    Raises:
        DataError: see `read_picture`.
        SettingsError: see `read_picture`.
    """
    _check(ink, kind)
    try:
        upright = _decode(content, formats, most_pixels)
        check_shape(upright, name)
        flat = _flatten(upright, kind)
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # whose text speaks of an attack
        raise DataError(f"{name}: more than 178 million pixels; save it smaller") from error
    except UnidentifiedImageError as error:  # whose text names an object in memory
        expected = " or ".join(formats or ("PNG", "JPEG", "the like"))
        raise DataError(f"{name}: not a readable picture: expected {expected}") from error
    except Exception as error:  # Pillow and its decoders raise many kinds
        raise DataError(f"{name}: not a readable picture: {error}") from error
    return find_picture(flat, name, ink, kind)


def _decode(
    content: bytes, formats: tuple[str, ...] | None, most_pixels: int | None
) -> Image.Image:
    """Returns a file's picture, upright, in any mode; raises what Pillow raises."""
    with warnings.catch_warnings():
        # Pillow warns from 89 million pixels on, and refuses from twice as many.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # broken EXIF and the like
        with Image.open(io.BytesIO(content), formats=formats) as image:
            pixels = image.width * image.height  # nothing is decoded before it is used
            if most_pixels is not None and pixels > most_pixels:
                raise ValueError(f"{pixels:,} pixels; expected at most {most_pixels:,}")
            return ImageOps.exif_transpose(image)


def as_picture(image: Image.Image, name: str, ink: str = "auto", kind: str = DRAWINGS) -> Picture:
    """Makes of an image in memory what `read_picture` makes of a file; errors name it.

    Raises:
        DataError: see `read_picture`.
        SettingsError: see `read_picture`.
    """
    _check(ink, kind)
    try:
        upright = ImageOps.exif_transpose(image)
        check_shape(upright, name)
        flat = _flatten(upright, kind)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{name}: not a readable picture: {error}") from error
    return find_picture(flat, name, ink, kind)


def find_picture(
    flat: Image.Image, name: str, ink: str, kind: str, may_be_blank: bool = False
) -> Picture:
    """Finds the drawing in a picture, or takes the picture as it is.

    Args:
        flat: 8-bit, grey or RGB.
        name: of the picture, for errors.
        ink: of drawings, see `find_drawing`.
        kind: one of `l2l_omniglot.data.KINDS`.
        may_be_blank: whether a drawing may be without ink.

    Raises:
        DataError: if the picture is too narrow or, as a drawing, blank.
        SettingsError: if it is a photograph, and scikit-image is not installed.
    """
    if kind == DRAWINGS:
        return find_drawing(flat, name, ink, may_be_blank)
    return as_it_is(flat, name)


def _flatten(image: Image.Image, kind: str) -> Image.Image:
    """Converts a picture to 8 bits, grey or RGB, with paper where it is transparent.

    It may be changed on the way.
    """
    if image.mode.startswith("I;16") and kind == IMAGES:
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "F" or image.mode.startswith("I"):
        return _ranged(image)
    if image.mode == "LAB":
        return image.getchannel("L")
    grey = image.mode in {"1", "L", "LA", "La"}
    if not image.has_transparency_data:
        mode = "L" if grey else "RGB"
        return image if image.mode == mode else image.convert(mode)
    mode = "LA" if grey else "RGBA"
    layers = image if image.mode == mode else image.convert(mode)
    layers.thumbnail((MOST_SIDE, MOST_SIDE))  # as is done soon in any case; each layer takes memory
    alpha = layers.getchannel("A")
    drawn = np.asarray(layers.convert("LA").getchannel(0))[np.asarray(alpha) > MIDDLE]
    opaque = layers.convert("L" if grey else "RGB")
    sheet = Image.new(opaque.mode, layers.size, "black" if _is_light(drawn) else "white")
    sheet.paste(opaque, mask=alpha)
    return sheet


def _ranged(image: Image.Image) -> Image.Image:
    """Stretches numbers to 0 to 255; those that hardly differ are paper.

    Goes through bands of rows: as float64 a large picture would take gigabytes.
    """
    ends = np.array([(band.min(), band.max()) for band in _bands(image)], np.float64)
    lowest, highest = float(ends.min()), float(ends.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("has pixels that are not finite")
    span = highest - lowest
    if span <= LEAST_CONTRAST / PAPER * max(abs(lowest), abs(highest)):
        return Image.new("L", image.size, PAPER)  # blank
    stretched = [((band - lowest) / span * PAPER).astype(np.uint8) for band in _bands(image)]
    return Image.fromarray(np.concatenate(stretched))


def _bands(image: Image.Image) -> Iterator[npt.NDArray[np.float64]]:
    """Returns a picture of numbers from top to bottom, some rows at a time."""
    for top in range(0, image.height, ROWS):
        band = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        yield np.asarray(band, dtype=np.float64)


def _is_light(grey: Pixels) -> bool:
    return bool(len(grey)) and int(grey.min()) > MIDDLE


def shrink(picture: Image.Image, image_size: int) -> Pixels:
    """Scales an 8-bit picture, whatever its size: (size, size) if it is grey, (size, size, 3)."""
    return np.asarray(picture.resize((image_size, image_size), Image.Resampling.BICUBIC))


def to_images(pictures: Sequence[Image.Image], image_size: int, ink: str) -> torch.Tensor:
    """Converts B pictures, 8-bit, all grey or all RGB, to the network's input.

    That is float32 (B, 1 or 3, image_size, image_size) in [0, 1], where `ink`, which is dark in the
    pictures, is ``white`` (1) or ``black``.
    """
    import torch  # late, so that errors in a folder are reported at once

    pixels = np.stack([np.atleast_3d(shrink(picture, image_size)) for picture in pictures])
    values = np.ascontiguousarray(np.moveaxis(pixels, 3, 1), dtype=np.float32)
    images = torch.from_numpy(values).mul_(1.0 / 255.0)
    return 1 - images if ink == "white" else images
