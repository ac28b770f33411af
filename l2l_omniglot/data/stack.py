"""A class stack: C classes of M images each, checked when opened, read on demand."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from l2l_omniglot._util.reading import UnreadableError, reason_of
from l2l_omniglot._util.text import shown
from l2l_omniglot.data.array_file import ArrayFile, open_array
from l2l_omniglot.data.sidecar import ClassInfo, Sidecar, read_sidecar
from l2l_omniglot.errors import DataError, check_choice

Background: TypeAlias = Literal["auto", "white", "black"]
Ink: TypeAlias = Literal["white", "black"]
Numbers: TypeAlias = "Sequence[int] | npt.NDArray[np.int64]"
Places: TypeAlias = npt.NDArray[np.int64]

TOLERANCE = 1e-3  # of floats, around either range; images are clipped
LEAST_OF_255 = 16  # floats whose largest value is between 1 and this are in neither range
ROTATIONS, TRANSFORMS = 4, 8  # quarter turns of an image; with those of its mirror image
_CHUNK = 2**24  # bytes that are checked at once
_CHANNELS = (1, 3)
_LAYOUTS = "(C, M, 1, H, W), (C, M, H, W) or (C, M, H, W, 1), with 1 or 3 channels"


class Stack(Protocol):
    """What tasks, reports and pages ask of images of some classes; a reader may bring its own.

    Classes may have different numbers of images. `ImageStack` is one.
    """

    @property
    def name(self) -> str:
        """Returns the name of the data, for messages."""

    @property
    def info(self) -> Sequence[ClassInfo]:
        """Returns one entry per class."""

    @property
    def names(self) -> Sequence[str]:
        """Returns the classes' names, in order."""

    @property
    def images_per_class(self) -> Sequence[int]:
        """Returns the number of images of each class."""

    @property
    def channels(self) -> int:
        """Returns 1 for grey images, 3 for colour."""

    @property
    def height(self) -> int:
        """Returns the images' height in pixels."""

    @property
    def width(self) -> int:
        """Returns the images' width in pixels."""

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Returns the side of square images, else (height, width)."""

    @property
    def background(self) -> str:
        """Returns which end of the stored values is paper, ``white`` or ``black``."""

    @property
    def ink(self) -> Ink:
        """Returns which end of [0, 1] is ink in `images`."""

    @property
    def sha256(self) -> str:
        """Returns the digest by which a run knows its data again."""

    @property
    def pictures(self) -> str:
        """Returns what is seen of a person's picture, see `Sidecar`; may be empty."""

    @property
    def summary(self) -> str:
        """Says in a sentence what the stack holds."""

    def images(
        self, classes: Numbers, items: Numbers, transforms: Numbers | None = None
    ) -> torch.Tensor:
        """Reads B images; see `ImageStack.images`."""

    def on(self, device: torch.device) -> Stack:
        """Returns a copy whose images are on a device."""


class ImageStack:
    """Images of C classes, M of each, or as many as the sidecar counts.

    The array is kept as it is (by `load_stack` memory-mapped if it is large); `images` converts
    what is read.

    Args:
        array: shape (C, M, 1 or 3, H, W), (C, M, H, W) or (C, M, H, W, 1 or 3), or if the
            sidecar has counts (images, 1, 1 or 3, H, W); boolean, integer or float; values 0 to 1
            or 0 to 255.
        background: which end of the value range is paper in the array; ``auto`` is as in the
            sidecar, else judged by the images' borders.
        ink: which end of [0, 1] is ink in `images`: ``white`` is 1 (paper 0, as in Finn et al.
            2017), ``black`` is 0 (paper 1, as in the tutorial).
        sidecar: names of the classes and the expected digest, where known.
        name: of the array, for error messages.

    Attributes:
        classes, channels, height, width: the sizes C, 1 or 3, H and W.
        images_per_class: number of images of each class.
        info: one `ClassInfo` per class; without sidecar the names are "0", "1", ...
        pictures: what is seen of a person's picture, see `Sidecar`.
        sha256: digest of the array's bytes in C order.

    Raises:
        DataError: if the rank or type is wrong, values are NaN or out of range, or the digest is
            not the sidecar's; quotes what was found and what was expected.
    """

    def __init__(
        self,
        array: npt.NDArray[Any],
        background: Background = "auto",
        ink: Ink = "white",
        sidecar: Sidecar | None = None,
        name: str = "array",
    ) -> None:
        check_choice("background", background, get_args(Background), kind=DataError)
        check_choice("ink", ink, get_args(Ink), kind=DataError)
        self.name = name
        counts = sidecar.counts if sidecar else ()
        if counts and (array.ndim != 5 or array.shape[:2] != (sum(counts), 1)):
            raise DataError(
                f"{name}: has shape {array.shape}; expected ({sum(counts)}, 1, channels, H, W), "
                "since its sidecar counts images"
            )
        self._array = _channels_first(array[None, :, 0] if counts else array, name)
        self._on_device: torch.Tensor | None = None
        self._file: ArrayFile | None = None
        self.channels, self.height, self.width = self._array.shape[2:]
        self.images_per_class: tuple[int, ...] = (
            counts or (self._array.shape[1],) * self._array.shape[0]
        )
        self.classes = len(self.images_per_class)
        self._firsts = np.cumsum((0, *counts[:-1])) if counts else None
        largest, self.sha256 = _scan(array, name, "image" if counts else "class")
        self._scale = 1.0 if largest <= 1 + TOLERANCE else 1.0 / 255.0
        self.info = _class_info(sidecar, self.classes, self.sha256, name)
        if background == "auto":
            background = self._guess_background(sidecar)
        self.background: Literal["white", "black"] = background
        self.ink: Ink = ink
        self.pictures = sidecar.pictures if sidecar else ""

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the classes' names, in order."""
        return tuple(entry.name for entry in self.info)

    @property
    def summary(self) -> str:
        """Describes the stack in a sentence."""
        return (
            f"Data: {shown(self.name)}, {self.classes} classes of {span(self.images_per_class)} "
            f"images, {self.channels} x {self.height} x {self.width}, SHA-256 {self.sha256[:12]}."
        )

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Returns the size in pixels: one number for square images, else (height, width)."""
        return self.height if self.height == self.width else (self.height, self.width)

    def images(
        self,
        classes: Numbers,
        items: Numbers,
        transforms: Numbers | None = None,
    ) -> torch.Tensor:
        """Reads B images.

        Args:
            classes: B class numbers in [0, C).
            items: B image numbers, each below its class's number of images.
            transforms: B in [0, 8), by default 0: the number of counterclockwise quarter turns,
                plus 4 with a mirroring left to right before.

        Returns:
            float32 of shape (B, channels, H, W) in [0, 1], on the CPU or the device of `on`.
        """
        places = self._places(np.asarray(classes), np.asarray(items))
        if self._on_device is None:
            if self._file:
                self._file.check()
            raw = self._array[places]
            pixels = torch.from_numpy(np.ascontiguousarray(raw, dtype=np.float32))
        else:
            where = torch.from_numpy(np.stack(places)).to(self._on_device.device)
            pixels = self._on_device[where[0], where[1]].to(torch.float32)
        numbers = np.asarray(0 if transforms is None else transforms)
        for transform in range(1, TRANSFORMS):
            if len(chosen := np.flatnonzero(numbers == transform)):
                images = pixels[chosen]
                mirrored = images.flip(-1) if transform >= ROTATIONS else images
                pixels[chosen] = mirrored.rot90(transform % ROTATIONS, (-2, -1))
        pixels = pixels.mul_(self._scale).clamp_(0, 1)
        return 1 - pixels if self.background == self.ink else pixels

    def _places(self, classes: Places, items: Places) -> tuple[Places, Places]:
        """Returns where images are on the first two axes of the array."""
        if self._firsts is None:
            return classes, items
        return np.zeros_like(items), self._firsts[classes] + items

    def on(self, device: torch.device | str) -> ImageStack:
        """Returns a copy whose images are on a device; only indices are sent there then."""
        other = copy.copy(self)
        array = np.ascontiguousarray(self._array)
        array = array if array.dtype == np.uint8 else array.astype(np.float32)
        other._on_device = torch.tensor(array, device=device)
        return other

    def _guess_background(self, sidecar: Sidecar | None) -> Literal["white", "black"]:
        """Returns the sidecar's background, else white where borders are brighter than half."""
        if sidecar is not None:
            return "black" if sidecar.background == "black" else "white"
        numbers = np.arange(0, self.classes, max(1, self.classes // 100))
        sample = self._array[self._places(numbers, np.zeros_like(numbers))]
        sample = sample.astype(np.float64) * self._scale
        borders = (sample[..., 0, :], sample[..., -1, :], sample[..., :, 0], sample[..., :, -1])
        return "white" if np.mean([border.mean() for border in borders]) > 0.5 else "black"

    def __repr__(self) -> str:
        return f"ImageStack({self.name!r}, {self.classes} classes, {self.background} background)"


def load_stack(path: str | Path, background: Background = "auto", ink: Ink = "white") -> ImageStack:
    """Opens a ``.npy`` class stack without pickle; a large one is memory-mapped.

    Args:
        path: a file of `prepare` or your own; see `ImageStack` for shapes and ranges. A sidecar
            beside it names the classes.
        background: see `ImageStack`.
        ink: see `ImageStack`.

    Raises:
        DataError: if the file is missing, truncated, no ``.npy`` array, holds Python objects,
            or is refused by `ImageStack`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected a .npy class stack")
        array, file = open_array(path)
    except (UnreadableError, OSError) as error:
        raise DataError(f"{path}: not a readable .npy array: {reason_of(error)}") from error
    stack = ImageStack(array, background, ink, read_sidecar(path), str(path))
    stack._file = file
    return stack


def span(counts: Sequence[int]) -> str:
    """Formats counts: ``20``, or ``12 to 20`` where they differ."""
    fewest, most = min(counts), max(counts)
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _channels_first(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Views an array of any accepted layout as (C, M, channels, H, W)."""
    if array.dtype.kind not in "buif":
        raise DataError(f"{name}: holds {array.dtype}; expected booleans, integers or floats")
    shape = array.shape
    if array.ndim == 4:
        view = array[:, :, None]
    elif array.ndim == 5 and shape[2] in _CHANNELS:
        view = array
    elif array.ndim == 5 and shape[4] in _CHANNELS:
        view = np.moveaxis(array, 4, 2)
    else:
        raise DataError(f"{name}: has shape {shape}; expected {_LAYOUTS}")
    if 0 in shape:
        raise DataError(f"{name}: has shape {shape}, which holds no image; expected {_LAYOUTS}")
    return view


def _scan(array: npt.NDArray[Any], name: str, what: str) -> tuple[float, str]:
    """Checks the values, in chunks; returns the largest one and the digest.

    Args:
        array: of any layout.
        name: of the array, for errors.
        what: is on its first axis, in a word.
    """
    digest = hashlib.sha256()
    lowest, largest = np.inf, -np.inf
    step = max(1, _CHUNK * len(array) // array.nbytes)
    for start in range(0, len(array), step):
        chunk = np.ascontiguousarray(array[start : start + step])
        digest.update(chunk.data)
        low, high = float(chunk.min()), float(chunk.max())
        if not np.isfinite([low, high]).all():
            where = start + int(np.argwhere(~np.isfinite(chunk))[0][0])
            raise DataError(f"{name}: {what} {where} holds NaN or infinity; expected finite values")
        lowest, largest = min(lowest, low), max(largest, high)
    slack = TOLERANCE if array.dtype.kind == "f" else 0.0
    # A maximum of 2, say, is in neither range; dividing by 255 would hide it.
    neither = array.dtype.kind == "f" and 1 + slack < largest < LEAST_OF_255
    if lowest < -slack or largest > 255 + slack or neither:
        raise DataError(
            f"{name}: holds values from {lowest:g} to {largest:g}; expected 0 to 1 or 0 to 255"
        )
    return largest, digest.hexdigest()


def _class_info(
    sidecar: Sidecar | None, classes: int, sha256: str, name: str
) -> tuple[ClassInfo, ...]:
    if sidecar is None:
        return tuple(ClassInfo(str(number)) for number in range(classes))
    if sidecar.sha256 != sha256 or len(sidecar.classes) != classes:
        raise DataError(
            f"{name}: {classes} classes with digest {sha256[:12]}, but its sidecar describes "
            f"{len(sidecar.classes)} with digest {sidecar.sha256[:12]}; run "
            "`l2l-omniglot prepare` again, or delete the sidecar (.json) of a file of your own"
        )
    return sidecar.classes
