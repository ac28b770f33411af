"""Images as people pass them to `FewShotClassifier`: arrays, Pillow images, paths."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from l2l_omniglot.data.frame import PAPER
from l2l_omniglot.data.pictures import Picture, as_picture, read_picture
from l2l_omniglot.errors import DataError

Array = npt.NDArray[Any]
COLOURS = (3, 4)  # values of a pixel: RGB, or RGBA
PICTURES = "paths, Pillow images, or arrays (H, W, 3)"


class InputError(DataError, ValueError):
    """Images or labels that cannot be fitted or classified; a ValueError, too."""


def as_pictures(images: Any, ink: str, kind: str) -> list[Picture] | None:
    """Reads pictures as `predict` does; None if X is of arrays.

    Args:
        images: a list or array (B,) of paths, Pillow images or arrays (H, W, 3), or one array of
            the last, (B, H, W, 3), uint8, or floats in [0, 1].
        ink: see `read_picture`.
        kind: see `read_picture`.

    Raises:
        InputError: if one cannot be read, or only some are pictures.
    """
    if isinstance(images, (str, PathLike, Image.Image)):
        raise InputError(f"one picture ({_short(images)}): expected a list of pictures")
    if isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind in "OU":
        images = images.tolist()
    if isinstance(images, np.ndarray) and not _is_colour(images, 4):
        return None
    if not isinstance(images, (list, tuple, np.ndarray)):
        return None
    kinds = [_is_picture(entry) for entry in images]
    if not any(kinds):
        return None
    if not all(kinds):
        odd = images[kinds.index(False)]
        raise InputError(f"{type(odd).__name__} among pictures: expected {PICTURES} only")
    try:
        return [_read(entry, number, ink, kind) for number, entry in enumerate(images)]
    except DataError as error:
        raise InputError(str(error)) from error


def what_came(images: Any) -> str:
    """Says what came instead of pictures."""
    if isinstance(images, np.ndarray) and _is_colour(images, 3):
        return f"one picture (array of shape {images.shape})"
    if hasattr(images, "shape"):
        return f"array of shape {images.shape}"
    kinds = sorted({type(entry).__name__ for entry in images})
    return f"a list of {', '.join(kinds) or 'no pictures'}"


def _short(image: Any) -> str:
    return type(image).__name__ if isinstance(image, Image.Image) else repr(str(image))


def _is_colour(array: Array, axes: int) -> bool:
    """Returns whether an array has colours: uint8, or floats in [0, 1]."""
    if array.ndim != axes or array.shape[-1] not in COLOURS:
        return False
    return array.dtype == np.uint8 or (
        array.dtype.kind == "f" and array.size > 0 and array.min() >= 0 and array.max() <= 1
    )


def _is_picture(entry: Any) -> bool:
    if isinstance(entry, np.ndarray):
        return _is_colour(entry, 3)
    return isinstance(entry, (str, PathLike, Image.Image))


def _read(entry: Any, number: int, ink: str, kind: str) -> Picture:
    if isinstance(entry, (str, PathLike)):
        return read_picture(Path(entry), ink, kind)
    if isinstance(entry, np.ndarray):
        pixels = entry if entry.dtype == np.uint8 else (PAPER * entry).round().astype(np.uint8)
        entry = Image.fromarray(pixels)
    return as_picture(entry, f"picture {number}", ink, kind)


def flatten(images: Any) -> tuple[Any, tuple[int, ...]]:
    """Returns images as (B, features), and the shape of one unless they were flat."""
    kinds = isinstance(images, (list, tuple)) and [hasattr(i, "__array__") for i in images]
    if kinds and all(kinds):
        arrays = [np.asarray(image) for image in images]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise InputError(
                f"images of shapes {shapes[0]} and {shapes[1]}: expected equal shapes, or "
                f"pictures: {PICTURES}"
            )
        images = np.stack(arrays)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if len(shape) == 4:
        low, high = np.min(images), np.max(images)
        raise InputError(
            f"images of shape {shape}, values {low:g} to {high:g}: expected (B, H, W) or "
            "(B, 1, H, W); or in colour (B, H, W, 3), uint8 or floats in [0, 1]"
        )
    if len(shape) != 3:
        return images, ()
    return np.asarray(images).reshape(shape[0], math.prod(shape[1:])), shape[1:]


def value_range(flat: Array) -> tuple[float, float]:
    """Returns the values that become 0 and 1."""
    low, high = float(flat.min()), float(flat.max())
    if low >= 0 and (high <= 1 or PAPER / 2 < high <= PAPER):
        return 0.0, 1.0 if high <= 1 else float(PAPER)
    return low, high if high > low else low + 1


def check_range(flat: Array, low: float, high: float) -> None:
    """Refuses images of another range of values than in `fit`, such as 0 to 1 for 0 to 255."""
    lowest, highest = float(flat.min()), float(flat.max())
    span = high - low
    outside = lowest < low - span / 2 or highest > high + span / 2
    tiny = lowest < highest and highest - lowest < span / 100
    if outside or tiny:
        raise InputError(
            f"images of values {lowest:g} to {highest:g}: expected {low:g} to {high:g}, as in fit"
        )
