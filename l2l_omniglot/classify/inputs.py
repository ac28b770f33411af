"""Images as people pass them to `FewShotClassifier`: arrays, Pillow images, paths."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from l2l_omniglot.data.pictures import PAPER, as_drawing, read_picture
from l2l_omniglot.errors import DataError

Array = npt.NDArray[Any]
COLOURS = (3, 4)  # values of a pixel: RGB, or RGBA


class InputError(DataError, ValueError):
    """Images or labels that cannot be fitted or classified; a ValueError, too."""


def as_pictures(images: Any) -> list[Image.Image] | None:
    """Reads pictures as `predict` does: 8-bit grey, dark ink on white; None if X is of arrays.

    Args:
        images: a list of paths, Pillow images or arrays uint8 (H, W, 3), or one array of the
            last, (B, H, W, 3).

    Raises:
        InputError: if one cannot be read, or only some are pictures.
    """
    if isinstance(images, np.ndarray) and not _is_colour(images):
        return None
    if not isinstance(images, (list, tuple, np.ndarray)):
        return None
    kinds = [_is_picture(entry) for entry in images]
    if not any(kinds):
        return None
    if not all(kinds):
        odd = images[kinds.index(False)]
        raise InputError(f"{type(odd).__name__} among pictures: expected pictures only")
    try:
        return [_read(entry, number) for number, entry in enumerate(images)]
    except DataError as error:
        raise InputError(str(error)) from error


def _is_colour(array: Array) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in COLOURS


def _is_picture(entry: Any) -> bool:
    if isinstance(entry, np.ndarray):
        return _is_colour(entry[None])
    return isinstance(entry, (str, PathLike, Image.Image))


def _read(entry: Any, number: int) -> Image.Image:
    if isinstance(entry, (str, PathLike)):
        return read_picture(Path(entry))
    image = Image.fromarray(entry) if isinstance(entry, np.ndarray) else entry
    return as_drawing(image, f"picture {number}")


def flatten(images: Any) -> tuple[Any, tuple[int, ...]]:
    """Returns images as (B, features), and the shape of one unless they were flat."""
    kinds = isinstance(images, (list, tuple)) and [hasattr(i, "__array__") for i in images]
    if kinds and all(kinds):
        arrays = [np.asarray(image) for image in images]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise InputError(f"images of shapes {shapes[0]} and {shapes[1]}: expected equal shapes")
        images = np.stack(arrays)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if len(shape) == 4:
        raise InputError(f"images of shape {shape}: expected (B, H, W) or (B, 1, H, W)")
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
