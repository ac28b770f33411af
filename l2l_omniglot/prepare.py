"""From the raw images to ``omniglot.npy`` and its sidecar."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from l2l_omniglot.archive import (
    DRAWERS,
    RawCharacter,
    check_characters,
    open_characters,
)
from l2l_omniglot.errors import DataError
from l2l_omniglot.files import atomic_write, cache_folder, write_text
from l2l_omniglot.sidecar import ClassInfo, Sidecar, is_sidecar, sidecar_path

Pixels: TypeAlias = npt.NDArray[np.uint8]
Report: TypeAlias = Callable[[int, int], None]

RAW_SIZE = 105
MAX_PROBLEMS_SHOWN = 10


def default_stack_path() -> Path:
    """Where `prepare` writes and `train` looks: ``omniglot.npy`` in the cache folder."""
    return cache_folder() / "omniglot.npy"


def prepare_stack(
    sources: Sequence[str | Path],
    out: str | Path,
    image_size: int = 28,
    progress: Report | None = None,
    origin: str | None = None,
) -> Sidecar:
    """Writes the class stack and its sidecar.

    The order is background then evaluation, each sorted by alphabet, character and drawer;
    the same images give the same bytes, whether they come from archives or folders. Nothing
    is written unless every image was found and decoded.

    Args:
        sources: see `l2l_omniglot.archive.open_characters`.
        out: path of the ``.npy`` file, uint8 of shape (1623, 20, 1, image_size, image_size),
            ink 0 on paper 255 as in the archives.
        image_size: pixels, 8 to 105 (the raw size).
        progress: called with (characters done, characters in all).
        origin: what the sidecar says of the source; by default the sources' names.

    Returns:
        The sidecar that was written.

    Raises:
        DataError: if images are missing or broken; names them.
    """
    paths, out = [Path(source) for source in sources], Path(out)
    check_target(out, image_size)
    with open_characters(paths) as characters:
        stack = _read_stack(characters, image_size, progress)
    sidecar = Sidecar(
        classes=tuple(
            ClassInfo(raw.name, raw.subset, raw.alphabet, raw.character) for raw in characters
        ),
        source=origin or ", ".join(path.name or str(path) for path in paths),
        image_size=image_size,
        background="white",
        sha256=hashlib.sha256(stack.tobytes()).hexdigest(),
    )
    # Sidecar first: a stop between the two leaves a mismatch that loading names, and never
    # a stack that has silently lost its class names.
    write_text(sidecar_path(out), sidecar.to_json())
    with atomic_write(out) as file:
        np.save(file, stack, allow_pickle=False)
    return sidecar


def check_target(out: Path, image_size: int) -> None:
    """Refuses what could not be written; before a download, say.

    Raises:
        DataError: if the size or the name is wrong, or the sidecar would take the place of a
            JSON file of somebody else's.
    """
    if not 8 <= image_size <= RAW_SIZE:
        raise DataError(f"image size {image_size}: needed 8 to {RAW_SIZE} pixels")
    if out.suffix != ".npy":
        raise DataError(f"{out}: needed a name that ends in .npy")
    beside = sidecar_path(out)
    if beside.exists() and not is_sidecar(beside):
        raise DataError(f"{beside}: is in the way of the sidecar of {out}; needed another --out")


def _read_stack(characters: list[RawCharacter], image_size: int, progress: Report | None) -> Pixels:
    """Decodes every drawing into an array (C, 20, 1, image_size, image_size)."""
    problems = check_characters(characters)
    shape = (len(characters), DRAWERS, 1, image_size, image_size)
    stack = np.empty(shape, dtype=np.uint8)
    for number, character in enumerate(characters):
        for drawer, (name, read) in character.drawings.items():
            try:
                image = decode(read(), image_size)
            except Exception as error:  # Pillow, zlib and zipfile raise many kinds
                problems.append(f"{name}: {error}")
                continue
            if 1 <= drawer <= DRAWERS:
                stack[number, drawer - 1, 0] = image
        if progress:
            progress(number + 1, len(characters))
    if problems:
        raise DataError(_describe(problems))
    return stack


def decode(png: bytes, image_size: int) -> Pixels:
    """Decodes one drawing to 8-bit grey of shape (image_size, image_size)."""
    with Image.open(io.BytesIO(png)) as image:
        if image.size != (RAW_SIZE, RAW_SIZE):
            width, height = image.size
            raise ValueError(f"{width}x{height} pixels, needed {RAW_SIZE}x{RAW_SIZE}")
        return shrink(image.convert("L"), image_size)


def shrink(grey: Image.Image, image_size: int) -> Pixels:
    """An 8-bit grey image of shape (image_size, image_size), whatever its size was."""
    return np.asarray(grey.resize((image_size, image_size), Image.Resampling.BICUBIC))


def _describe(problems: list[str]) -> str:
    shown = "; ".join(problems[:MAX_PROBLEMS_SHOWN])
    more = len(problems) - MAX_PROBLEMS_SHOWN
    tail = f"; and {more} more" if more > 0 else ""
    return f"the images are not complete, nothing was written: {shown}{tail}"
