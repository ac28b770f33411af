"""Downloads, checks and reads Omniglot's official archives, and writes ``omniglot.npy``.

Source: Lake, Salakhutdinov and Tenenbaum 2015, repository ``brendenlake/omniglot``, folder
``python/``. Inside an archive: ``images_<subset>/<Alphabet>/character<NN>/<id>_<drawer>.png``.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from l2l_omniglot._util.download import fetch
from l2l_omniglot._util.files import atomic_write, cache_folder, write_text
from l2l_omniglot._util.reading import (
    MOST_ARCHIVE,
    MOST_ENTRIES,
    MOST_ENTRY,
    UnreadableError,
    read_bytes,
    read_most,
    size_text,
)
from l2l_omniglot._util.text import reasons
from l2l_omniglot.data.frame import RAW_SIZE
from l2l_omniglot.data.light import Pixels
from l2l_omniglot.data.pictures import shrink
from l2l_omniglot.data.sidecar import ClassInfo, Sidecar, is_sidecar, sidecar_path
from l2l_omniglot.errors import DataError, DownloadError, check_number

Read: TypeAlias = Callable[[], bytes]
Announce: TypeAlias = Callable[[str], None]
Progress: TypeAlias = Callable[[int, int], None]

SOURCE_VARIABLE = "L2L_OMNIGLOT_SOURCE"
MIRROR_VARIABLE = "L2L_OMNIGLOT_MIRROR"
OFFICIAL_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
OFFICIAL_MD5 = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
CHARACTERS = {"background": 964, "evaluation": 659}
DRAWERS = 20

_IMAGE = re.compile(
    r"(?:^|/)images_(?P<subset>background|evaluation)/(?P<alphabet>[^/]+)/"
    r"(?P<character>character\d+)/(?P<id>\d+)_(?P<drawer>\d+)\.png$"
)


@dataclass
class RawCharacter:
    """One character and its drawings: by drawer number, file name and a function that reads it."""

    info: ClassInfo
    drawings: dict[int, tuple[str, Read]] = field(default_factory=dict)


def default_stack_path() -> Path:
    """Returns the default path of the stack: ``omniglot.npy`` in the cache folder."""
    return cache_folder() / "omniglot.npy"


def prepare_omniglot(
    sources: list[Path],
    out: Path,
    *,
    image_size: int = 28,
    announce: Announce,
    progress: Progress | None = None,
) -> None:
    """Writes the stack from `sources`, else ``L2L_OMNIGLOT_SOURCE``, else the download."""
    check_target(out, image_size)
    named = os.environ.get(SOURCE_VARIABLE)
    origin = None
    if not sources and named:
        announce(f"Reading the images from {SOURCE_VARIABLE}={named}.")
        sources = [Path(named)]
    elif not sources:
        announce("Downloading the official archives (14 MB).")
        sources = _download()
        origin = "official archives of brendenlake/omniglot, MD5 verified"
    prepare_stack(sources, out, image_size, progress, origin)
    announce(f"Wrote {out}.")


def prepare_stack(
    sources: Sequence[str | Path],
    out: str | Path,
    image_size: int = 28,
    progress: Progress | None = None,
    origin: str | None = None,
) -> Sidecar:
    """Writes the class stack and its sidecar, or nothing unless every image could be decoded.

    Background comes before evaluation, each sorted by alphabet, character and drawer; archives
    and folders of the same images give the same bytes.

    Args:
        sources: each a zip archive, an extracted ``images_background`` or
            ``images_evaluation`` folder, or a folder that holds any of these.
        out: path of the ``.npy`` file, uint8 of shape (1623, 20, 1, image_size, image_size),
            ink 0 on paper 255 as in the archives.
        image_size: pixels, 8 to 105 (the raw size).
        progress: called with (characters done, characters in all).
        origin: the sidecar's description of the source; by default the sources' names.

    Raises:
        DataError: if images or sources are missing or broken; names them.
    """
    paths, out = [Path(source) for source in sources], Path(out)
    check_target(out, image_size)
    with open_characters(paths) as characters:
        stack = _read_stack(characters, image_size, progress)
    sidecar = Sidecar(
        classes=tuple(character.info for character in characters),
        source=origin or ", ".join(path.name or str(path) for path in paths),
        image_size=image_size,
        background="white",
        sha256=hashlib.sha256(stack.tobytes()).hexdigest(),
    )
    # The sidecar first: after a stop between the two, loading reports that they do not match.
    write_text(sidecar_path(out), sidecar.to_json())
    with atomic_write(out) as file:
        np.save(file, stack, allow_pickle=False)
    return sidecar


def check_target(out: Path, image_size: int) -> None:
    """Refuses a size, and what `check_beside` does."""
    check_number("image_size", image_size, minimum=8, maximum=RAW_SIZE, kind=DataError)
    check_beside(out)


def check_beside(out: Path) -> None:
    """Refuses another ending than .npy, or a sidecar that would replace an unrelated JSON file.

    Raises:
        DataError: if so.
    """
    if out.suffix != ".npy":
        raise DataError(f"{out}: expected a name that ends in .npy")
    beside = sidecar_path(out)
    if beside.exists() and not is_sidecar(beside):
        raise DataError(f"{beside}: is not the sidecar of {out}; expected another name for that")


def _read_stack(
    characters: list[RawCharacter], image_size: int, progress: Progress | None
) -> Pixels:
    """Decodes every drawing into an array (C, 20, 1, image_size, image_size)."""
    problems = _check_characters(characters)
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
        raise DataError(f"the images are not complete, nothing was written: {reasons(problems)}")
    return stack


def decode(png: bytes, image_size: int) -> Pixels:
    """Decodes one drawing to 8-bit grey of shape (image_size, image_size)."""
    with Image.open(io.BytesIO(png)) as image:
        if image.size != (RAW_SIZE, RAW_SIZE):
            width, height = image.size
            raise ValueError(f"{width}x{height} pixels, expected {RAW_SIZE}x{RAW_SIZE}")
        return shrink(image.convert("L"), image_size)


@contextmanager
def open_characters(sources: list[Path]) -> Iterator[list[RawCharacter]]:
    """Opens archives or extracted folders and yields their characters, in the stack's order."""
    with ExitStack() as stack:
        characters: dict[str, RawCharacter] = {}
        for source in sources:
            images = list(_list_images(source, stack))
            if not images:
                raise DataError(
                    f"{source}: no Omniglot image found; expected images_background.zip and "
                    "images_evaluation.zip, or the folders extracted from them"
                )
            for match, read in images:
                names = match["subset"], match["alphabet"], match["character"]
                info = ClassInfo("/".join(names), *names)
                drawings = characters.setdefault(info.name, RawCharacter(info)).drawings
                # An archive beside its extracted folder holds the same: the first counts.
                drawings.setdefault(int(match["drawer"]), (match[0].lstrip("/"), read))
        yield [characters[name] for name in sorted(characters)]


def _list_images(source: Path, stack: ExitStack) -> Iterator[tuple[re.Match[str], Read]]:
    """Yields the Omniglot images in `source` and in official archives there."""
    archives = [source / name for name in OFFICIAL_MD5 if (source / name).is_file()]
    for path in (*archives, source):
        for name, read in list_files(path, stack):
            if match := _IMAGE.search(name):
                yield match, read


def list_files(path: Path, stack: ExitStack) -> Iterator[tuple[str, Read]]:
    """Yields the name of every file of a folder or zip archive, and a function that reads it.

    The function raises `UnreadableError` for more than `MOST_ENTRY` bytes. Pipes and devices are
    left out.

    Raises:
        DataError: if the path is neither, or has more than `MOST_ENTRIES` files.
    """
    if path.is_dir():
        paths = sorted(islice(path.resolve().rglob("*"), MOST_ENTRIES + 1))
        _check_count(path, len(paths))
        files = (file for file in paths if file.is_file())
        yield from ((file.as_posix(), partial(read_bytes, file, MOST_ENTRY)) for file in files)
        return
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    try:
        if not path.is_file():
            raise UnreadableError("a pipe, a socket or a device")
        if path.stat().st_size > MOST_ARCHIVE:
            raise UnreadableError(f"larger than {size_text(MOST_ARCHIVE)}")
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = sorted(archive.namelist())
    except Exception as error:  # zipfile raises many kinds, struct's among them
        raise DataError(f"{path}: not a readable zip archive ({error})") from error
    _check_count(path, len(names))
    yield from ((name, partial(_read_entry, archive, name)) for name in names)


def _check_count(path: Path, count: int) -> None:
    if count > MOST_ENTRIES:
        raise DataError(f"{path}: {count} files or more; expected at most {MOST_ENTRIES}")


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        return read_most(file, MOST_ENTRY)


def _check_characters(characters: list[RawCharacter]) -> list[str]:
    """Lists missing characters of a subset and missing drawings of a character."""
    problems = []
    for subset, count in CHARACTERS.items():
        number = sum(character.info.subset == subset for character in characters)
        if number != count:
            problems.append(f"images_{subset}: {number} characters, expected {count}")
    for character in characters:
        missing = [n for n in range(1, DRAWERS + 1) if n not in character.drawings]
        if missing:
            drawers = ", ".join(f"{n:02d}" for n in missing)
            problems.append(f"images_{character.info.name}: missing drawing by drawer {drawers}")
    return problems


def download_archives(
    folder: Path | None = None, url: str | None = None, checksums: dict[str, str] | None = None
) -> list[Path]:
    """Downloads archives, by default the official ones, or finds them in `folder` (the cache).

    Downloads get their final name only after their MD5, as in `checksums`, was verified.
    """
    folder = folder or cache_folder()
    url = (url or os.environ.get(MIRROR_VARIABLE) or OFFICIAL_URL).rstrip("/")
    known = (checksums or OFFICIAL_MD5).items()
    return [fetch(f"{url}/{name}", folder, f"md5:{md5}") for name, md5 in known]


def _download() -> list[Path]:
    try:
        return download_archives()
    except DownloadError as error:
        raise DownloadError(
            f"{error}\n"
            "With the archives (or the folders extracted from them) at hand:\n"
            "  l2l-omniglot prepare --source FOLDER\n"
            "With a mirror that serves images_background.zip and images_evaluation.zip:\n"
            "  L2L_OMNIGLOT_MIRROR=https://... l2l-omniglot prepare\n"
            "Without Omniglot, on built-in characters:\n"
            "  l2l-omniglot train --data synthetic"
        ) from error
