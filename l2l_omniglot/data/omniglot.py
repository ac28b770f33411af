"""Omniglot: its official archives, fetched, read and checked, made into ``omniglot.npy``.

Source: Lake, Salakhutdinov and Tenenbaum 2015, repository ``brendenlake/omniglot``, folder
``python/``. Inside an archive: ``images_<subset>/<Alphabet>/character<NN>/<id>_<drawer>.png``.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from l2l_omniglot._util.files import atomic_write, cache_folder, write_text
from l2l_omniglot.data.pictures import RAW_SIZE, Pixels, shrink
from l2l_omniglot.data.sidecar import ClassInfo, Sidecar, is_sidecar, sidecar_path
from l2l_omniglot.errors import DataError, DownloadError

Read: TypeAlias = Callable[[], bytes]
Announce: TypeAlias = Callable[[str], None]
Progress: TypeAlias = Callable[[int, int], None]

MAX_PROBLEMS_SHOWN = 10
log = logging.getLogger(__name__)

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
    """One character: its drawings by drawer number, each a way to read the PNG's bytes."""

    subset: str
    alphabet: str
    character: str
    drawings: dict[int, tuple[str, Read]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``<subset>/<Alphabet>/<character>``, as sidecars and splits spell it."""
        return f"{self.subset}/{self.alphabet}/{self.character}"


def default_stack_path() -> Path:
    """Returns where `prepare` writes and `train` looks: ``omniglot.npy`` in the cache folder."""
    return cache_folder() / "omniglot.npy"


def prepare_omniglot(
    sources: list[Path],
    out: Path,
    *,
    image_size: int = 28,
    announce: Announce,
    progress: Progress | None = None,
) -> None:
    """Prepares the stack from `sources`, else ``L2L_OMNIGLOT_SOURCE``, else the download."""
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
    """Writes the class stack and its sidecar.

    The order is background then evaluation, each sorted by alphabet, character and drawer;
    the same images give the same bytes, whether they come from archives or folders. Nothing
    is written unless every image was found and decoded.

    Args:
        sources: see `open_characters`.
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
        raise DataError(f"image size {image_size}: expected 8 to {RAW_SIZE} pixels")
    if out.suffix != ".npy":
        raise DataError(f"{out}: expected a name that ends in .npy")
    beside = sidecar_path(out)
    if beside.exists() and not is_sidecar(beside):
        raise DataError(f"{beside}: is in the way of the sidecar of {out}; expected another --out")


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
        raise DataError(_describe(problems))
    return stack


def decode(png: bytes, image_size: int) -> Pixels:
    """Decodes one drawing to 8-bit grey of shape (image_size, image_size)."""
    with Image.open(io.BytesIO(png)) as image:
        if image.size != (RAW_SIZE, RAW_SIZE):
            width, height = image.size
            raise ValueError(f"{width}x{height} pixels, expected {RAW_SIZE}x{RAW_SIZE}")
        return shrink(image.convert("L"), image_size)


def _describe(problems: list[str]) -> str:
    shown = "; ".join(problems[:MAX_PROBLEMS_SHOWN])
    more = len(problems) - MAX_PROBLEMS_SHOWN
    tail = f"; and {more} more" if more > 0 else ""
    return f"the images are not complete, nothing was written: {shown}{tail}"


@contextmanager
def open_characters(sources: list[Path]) -> Iterator[list[RawCharacter]]:
    """Opens archives or extracted folders and lists their characters, in the stack's order.

    Args:
        sources: each a zip archive, an extracted ``images_background`` or
            ``images_evaluation`` folder, or a folder that holds any of these.

    Yields:
        The characters: background then evaluation, sorted by alphabet and number.

    Raises:
        DataError: if a source is missing, is no archive, or holds no Omniglot image.
    """
    with ExitStack() as stack:
        found: dict[str, RawCharacter] = {}
        for source in sources:
            images = list(_list_images(source, stack))
            if not images:
                raise DataError(
                    f"{source}: no Omniglot image found; expected images_background.zip and "
                    "images_evaluation.zip, or the folders extracted from them"
                )
            for match, read in images:
                fresh = RawCharacter(match["subset"], match["alphabet"], match["character"])
                drawings = found.setdefault(fresh.name, fresh).drawings
                # An archive beside its extracted folder holds the same: the first counts.
                drawings.setdefault(int(match["drawer"]), (match[0].lstrip("/"), read))
        yield [found[name] for name in sorted(found)]


def _list_images(source: Path, stack: ExitStack) -> Iterator[tuple[re.Match[str], Read]]:
    """Yields every Omniglot image in `source`, and in official archives there, and its reader."""
    archives = [source / name for name in OFFICIAL_MD5 if (source / name).is_file()]
    for path in (*archives, source):
        for name, read in list_files(path, stack):
            match = _IMAGE.search(name)
            if match:
                yield match, read


def list_files(path: Path, stack: ExitStack) -> Iterator[tuple[str, Read]]:
    """Yields every file of a folder or zip archive, by name, and a way to read its bytes.

    Args:
        path: of the folder or archive.
        stack: an archive stays open as long as this.

    Raises:
        DataError: if there is neither.
    """
    if path.is_dir():
        files = (file for file in sorted(path.resolve().rglob("*")) if file.is_file())
        yield from ((file.as_posix(), file.read_bytes) for file in files)
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a readable zip archive ({error})") from error
    yield from ((name, partial(archive.read, name)) for name in sorted(archive.namelist()))


def _check_characters(characters: list[RawCharacter]) -> list[str]:
    """Returns a line for each thing missing: characters of a subset, drawings of a character."""
    problems = []
    for subset, count in CHARACTERS.items():
        found = sum(character.subset == subset for character in characters)
        if found != count:
            problems.append(f"images_{subset}: {found} characters, expected {count}")
    for character in characters:
        missing = [n for n in range(1, DRAWERS + 1) if n not in character.drawings]
        if missing:
            drawers = ", ".join(f"{n:02d}" for n in missing)
            problems.append(f"images_{character.name}: missing drawing by drawer {drawers}")
    return problems


def download_archives(
    folder: Path | None = None, url: str | None = None, checksums: dict[str, str] | None = None
) -> list[Path]:
    """Downloads the two official archives (14 MB), or finds them in the cache.

    Each download goes to a temporary name, is checked against its MD5 and only then gets its
    final name; one that was cut off starts anew.

    Args:
        folder: where they are kept; by default the user's cache folder.
        url: folder they are under; by default ``L2L_OMNIGLOT_MIRROR``, else the official one.
        checksums: file name to MD5; by default the official ones.

    Returns:
        The paths of the archives.

    Raises:
        DownloadError: if one cannot be fetched, or its checksum is wrong.
    """
    import pooch

    folder = folder or cache_folder()
    url = url or os.environ.get(MIRROR_VARIABLE) or OFFICIAL_URL
    pooch.get_logger().setLevel("WARNING")
    fetch = pooch.HTTPDownloader(progressbar=log.isEnabledFor(logging.INFO), timeout=30)
    paths = []
    for name, md5 in (checksums or OFFICIAL_MD5).items():
        address = f"{url.rstrip('/')}/{name}"
        try:
            found = pooch.retrieve(address, f"md5:{md5}", name, folder, downloader=fetch)
        except ValueError as error:  # the checksum; pooch's text holds both
            raise DownloadError(f"{address}: {error}") from error
        except OSError as error:  # the network, by requests, or the disk
            reason = error.strerror or type(error).__name__
            raise DownloadError(f"could not fetch {address} ({reason})") from error
        paths.append(Path(found))
    return paths


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
