"""The raw Omniglot images: fetching the official archives, reading them, checking their content.

Source: Lake, Salakhutdinov and Tenenbaum 2015, repository ``brendenlake/omniglot``, folder
``python/``. Inside an archive: ``images_<subset>/<Alphabet>/character<NN>/<id>_<drawer>.png``.
"""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from l2l_omniglot.errors import DataError, DownloadError
from l2l_omniglot.files import cache_folder

log = logging.getLogger(__name__)

SOURCE_VARIABLE = "L2L_OMNIGLOT_SOURCE"
MIRROR_VARIABLE = "L2L_OMNIGLOT_MIRROR"
OFFICIAL_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
OFFICIAL_MD5 = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
SUBSETS = ("background", "evaluation")
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
    drawings: dict[int, tuple[str, Callable[[], bytes]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``<subset>/<Alphabet>/<character>``, as sidecars and splits spell it."""
        return f"{self.subset}/{self.alphabet}/{self.character}"


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
                    f"{source}: no Omniglot image found; needed images_background.zip and "
                    "images_evaluation.zip, or the folders extracted from them"
                )
            for match, read in images:
                _add_image(found, match, read)
        yield [found[name] for name in sorted(found)]


def _add_image(
    found: dict[str, RawCharacter], match: re.Match[str], read: Callable[[], bytes]
) -> None:
    fresh = RawCharacter(match["subset"], match["alphabet"], match["character"])
    character = found.setdefault(fresh.name, fresh)
    # An archive beside the folder extracted from it holds the same drawings: the first counts.
    character.drawings.setdefault(int(match["drawer"]), (match[0].lstrip("/"), read))


def _list_images(
    source: Path, stack: ExitStack
) -> Iterator[tuple[re.Match[str], Callable[[], bytes]]]:
    """Yields every Omniglot image below `source` with a way to read it."""
    if source.is_file():
        yield from _list_archive(source, stack)
        return
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    archives = [source / name for name in OFFICIAL_MD5 if (source / name).is_file()]
    for archive in archives:
        yield from _list_archive(archive, stack)
    for path in sorted(source.resolve().rglob("*.png")):
        match = _IMAGE.search(path.as_posix())
        if match:
            yield match, path.read_bytes


def _list_archive(
    path: Path, stack: ExitStack
) -> Iterator[tuple[re.Match[str], Callable[[], bytes]]]:
    for name, read in list_archive(path, stack):
        match = _IMAGE.search(name)
        if match:
            yield match, read


def list_archive(path: Path, stack: ExitStack) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every file of a zip archive, which stays open as long as `stack`, with a way to read it.

    Raises:
        DataError: if it is no readable archive.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a readable zip archive ({error})") from error
    for name in sorted(archive.namelist()):
        yield name, lambda name=name: archive.read(name)  # type: ignore[misc]


def check_characters(characters: list[RawCharacter]) -> list[str]:
    """Compares what was found with the official content.

    Returns:
        One line for each thing that is missing: characters of a subset, drawings of a
        character. Empty where all is there.
    """
    problems = []
    for subset in SUBSETS:
        found = sum(character.subset == subset for character in characters)
        if found != CHARACTERS[subset]:
            problems.append(f"images_{subset}: {found} characters, needed {CHARACTERS[subset]}")
    for character in characters:
        missing = [n for n in range(1, DRAWERS + 1) if n not in character.drawings]
        if missing:
            drawers = ", ".join(f"{n:02d}" for n in missing)
            problems.append(f"images_{character.name}: missing drawing by drawer {drawers}")
    return problems
