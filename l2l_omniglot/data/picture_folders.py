"""Reads folders of a person's own pictures: a support folder of classes, and queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from l2l_omniglot.data.pictures import SUFFIXES, read_picture
from l2l_omniglot.errors import DataError


@dataclass
class Collection:
    """Pictures that could be read, and files that could not.

    Attributes:
        files: of the pictures.
        pictures: 8-bit grey, dark ink on white.
        classes: each picture's class by name; None where it is unknown.
        skipped: one sentence for each file that could not be read.
        left: files whose extension is not a picture's; not read.
    """

    files: list[Path] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The classes' names in natural order: 2 before 10."""
        return sorted({name for name in self.classes if name is not None}, key=_natural)

    def _read_folder(self, folder: Path, name: str | None, ink: str) -> None:
        for path in _entries(folder):
            if path.suffix.lower() in SUFFIXES and not path.is_dir():
                self._read(path, name, ink)
            elif not path.is_dir():
                self.left.append(path)

    def _read(self, file: Path, name: str | None, ink: str) -> None:
        try:
            self.pictures.append(read_picture(file, ink))
        except DataError as error:
            self.skipped.append(str(error))
        else:
            self.files.append(file)
            self.classes.append(name)


def read_support(folder: Path, ink: str = "auto") -> Collection:
    """Reads a folder with one sub-folder per class, of one picture or more each.

    Args:
        folder: its sub-folders are the classes; files beside them are ignored.
        ink: see `read_picture`.

    Raises:
        DataError: if there are fewer than two classes, or a class has no readable picture.
    """
    found = Collection()
    folders = [path for path in _entries(folder, "SUPPORT") if path.is_dir()]
    if len(folders) < 2:
        raise DataError(
            f"SUPPORT {folder}: has {len(folders)} sub-folders; expected at least 2, one per "
            "class, with its pictures inside"
        )
    for path in folders:
        before = len(found.files)
        found._read_folder(path, path.name, ink)
        if len(found.files) == before:
            about = found.skipped[-1] if found.skipped else f"expected {', '.join(SUFFIXES)}"
            raise DataError(f"SUPPORT {path}: has no readable picture; {about}")
    return found


def read_queries(paths: Sequence[Path], names: Sequence[str], ink: str = "auto") -> Collection:
    """Reads query pictures.

    Args:
        paths: files, or folders of them; pictures in a folder's sub-folder that has the name of
            a class are of that class.
        names: of the classes.
        ink: see `read_picture`.

    Raises:
        DataError: if a path is missing, a sub-folder has no class's name, or nothing is readable.
    """
    found = Collection()
    for path in paths:
        if not path.is_dir():
            found._read(path, None, ink)
            continue
        found._read_folder(path, None, ink)
        for folder in filter(Path.is_dir, _entries(path)):
            if folder.name not in names:
                raise DataError(
                    f"QUERY {folder}: no class is called {folder.name!r}; expected sub-folders "
                    f"named as the support's: {', '.join(names)}"
                )
            found._read_folder(folder, folder.name, ink)
    if not found.files:
        about = "; ".join(found.skipped) if found.skipped else f"expected {', '.join(SUFFIXES)}"
        raise DataError(f"QUERY {paths[0]}: no readable picture; {about}")
    return found


def _entries(folder: Path, what: str = "QUERY") -> list[Path]:
    """Lists a folder in natural order, without hidden files."""
    if not folder.is_dir():
        raise DataError(f"{what} {folder}: no such folder")
    entries = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(entries, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Returns a key by which numbers in names sort as numbers."""
    parts = re.split(r"(\d+)", name)
    found = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
    return found, name  # so that 1 and 01 differ
