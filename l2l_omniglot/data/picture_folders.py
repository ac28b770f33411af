"""Folders of a person's own pictures: a support folder of classes, and query pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from l2l_omniglot.data.pictures import SUFFIXES, read_picture
from l2l_omniglot.errors import DataError


@dataclass
class Collection:
    """Pictures that could be read, and those that could not.

    Attributes:
        files: of the pictures.
        pictures: 8-bit grey, dark ink on white.
        classes: each picture's class by name; None where it is not known.
        skipped: one sentence for each file that could not be read.
        left: files whose extension is not that of a picture; not read.
    """

    files: list[Path] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The classes' names, as people sort them: 2 before 10."""
        return sorted({name for name in self.classes if name is not None}, key=_natural)

    def _pictures(self, folder: Path) -> list[Path]:
        """Lists a folder's files with the extension of a picture; the others are left."""
        files = [path for path in _entries(folder, "folder") if not path.is_dir()]
        self.left += [path for path in files if path.suffix.lower() not in SUFFIXES]
        return [path for path in files if path.suffix.lower() in SUFFIXES]

    def _queries(self, folder: Path, names: Sequence[str]) -> Iterator[tuple[Path, str | None]]:
        yield from ((file, None) for file in self._pictures(folder))
        for path in _entries(folder, "QUERY"):
            if not path.is_dir():
                continue
            if path.name not in names:
                raise DataError(
                    f"QUERY {path}: no class is called {path.name!r}; expected sub-folders named "
                    f"as the support's: {', '.join(names)}"
                )
            yield from ((file, path.name) for file in self._pictures(path))

    def _read(self, files: Iterable[tuple[Path, str | None]], ink: str) -> None:
        for file, name in files:
            try:
                picture = read_picture(file, ink)
            except DataError as error:
                self.skipped.append(str(error))
                continue
            self.files.append(file)
            self.pictures.append(picture)
            self.classes.append(name)


def read_support(folder: Path, ink: str = "auto") -> Collection:
    """Reads a folder with one sub-folder a class, of one picture or more each.

    Args:
        folder: whose sub-folders are the classes; what lies beside them is left alone.
        ink: see `read_picture`.

    Raises:
        DataError: if there are fewer than two classes, or a class has no readable picture.
    """
    found = Collection()
    folders = [path for path in _entries(folder, "SUPPORT") if path.is_dir()]
    if len(folders) < 2:
        raise DataError(
            f"SUPPORT {folder}: has {len(folders)} sub-folders; expected at least 2, one a class, "
            "with its pictures inside"
        )
    for path in folders:
        before = len(found.files)
        found._read(((file, path.name) for file in found._pictures(path)), ink)
        if len(found.files) == before:
            about = found.skipped[-1] if found.skipped else f"expected {', '.join(SUFFIXES)}"
            raise DataError(f"SUPPORT {path}: has no picture that can be read; {about}")
    return found


def read_queries(paths: Sequence[Path], names: Sequence[str], ink: str = "auto") -> Collection:
    """Reads query pictures.

    Args:
        paths: files, or folders of them; in a folder's sub-folder that has a class's name,
            every picture counts as one of that class.
        names: of the classes.
        ink: see `read_picture`.

    Raises:
        DataError: if a path is not there, a sub-folder has no class's name, or nothing is
            readable.
    """
    found = Collection()
    for path in paths:
        found._read(found._queries(path, names) if path.is_dir() else [(path, None)], ink)
    if not found.files:
        about = "; ".join(found.skipped) if found.skipped else f"expected {', '.join(SUFFIXES)}"
        raise DataError(f"QUERY {paths[0]}: no picture that can be read; {about}")
    return found


def _entries(folder: Path, what: str) -> list[Path]:
    """Lists a folder without hidden files."""
    if not folder.is_dir():
        raise DataError(f"{what} {folder}: no such folder")
    entries = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(entries, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Returns a key by which numbers in names sort as numbers."""
    parts = re.split(r"(\d+)", name)
    found = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
    return found, name  # 1 and 01 sort alike but for that
