"""Reads folders of a person's own pictures: a support folder of classes, and queries."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from l2l_omniglot._util.files import sha256
from l2l_omniglot._util.text import counted
from l2l_omniglot.data import DRAWINGS
from l2l_omniglot.data.pictures import SUFFIXES, Picture, read_picture
from l2l_omniglot.errors import DataError

DROPPINGS = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir")
DEEPEST = 8  # folders below a query folder


class Listing(NamedTuple):
    """What a folder holds, without hidden files, each in natural order.

    Attributes:
        pictures: files with a picture's extension.
        others: files without.
        folders: sub-folders, without what systems drop.
        dropped: one sentence for each folder that a system dropped.
    """

    pictures: list[Path]
    others: list[Path]
    folders: list[Path]
    dropped: list[str]


@dataclass
class Collection:
    """Pictures that could be read, and files that could not.

    Attributes:
        files: of the pictures.
        pictures: what was read of them.
        classes: each picture's class by name; None where it is unknown.
        skipped: one sentence for each file that could not be read.
        left: files whose extension is not a picture's; not read.
        passed: one sentence for each folder that was passed over, and what else is to be noted.
        ink: how pictures are read, see `read_picture`.
        kind: how pictures are read, see `read_picture`.
        tell: is called after each picture.
    """

    files: list[Path] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    ink: str = "auto"
    kind: str = DRAWINGS
    tell: Callable[[], object] = int

    @cached_property
    def digests(self) -> list[str]:
        """Computes the SHA-256 of each file, once all are read."""
        return list(map(sha256, self.files))

    @property
    def doubts(self) -> list[str]:
        """Returns what speaks against the ink that was found, one sentence a picture."""
        pairs = zip(self.files, self.pictures, strict=True)
        return [f"{file}: {picture.doubt}" for file, picture in pairs if picture.doubt]

    @property
    def names(self) -> list[str]:
        """Returns the classes' names in natural order: 2 before 10."""
        return sorted({name for name in self.classes if name is not None}, key=_natural)

    def _read_files(self, listed: Listing, name: str | None) -> None:
        for path in listed.pictures:
            self._read(path, name)
        self.left += listed.others
        self.passed += listed.dropped

    def _read_class(self, folder: Path) -> None:
        """Reads the pictures of a class's folder; its sub-folders are passed over."""
        listed = list_folder(folder)
        self._read_files(listed, folder.name)
        for path in listed.folders:
            files = (file for file in path.rglob("*") if not file.name.startswith("."))
            deep = sum(file.suffix.lower() in SUFFIXES for file in files)
            if deep:
                self.passed.append(
                    f"{path}: {counted(deep, 'picture')} passed over, one folder too deep"
                )

    def _read_all(self, folder: Path, above: tuple[Path, ...] = ()) -> None:
        """Reads the pictures of a folder without classes, and of the folders in it."""
        listed, above = list_folder(folder), (*above, folder.resolve())
        self._read_files(listed, None)
        for path in listed.folders:
            if path.resolve() in above:
                self.passed.append(f"{path}: passed over, it is a link to a folder above it")
            elif len(above) <= DEEPEST:
                self._read_all(path, above)
            else:
                self.passed.append(f"{path}: passed over, more than {DEEPEST} folders deep")

    def _read(self, file: Path, name: str | None) -> None:
        try:
            self.pictures.append(read_picture(file, self.ink, self.kind))
        except DataError as error:
            self.skipped.append(str(error))
        else:
            self.files.append(file)
            self.classes.append(name)
        self.tell()


def read_support(
    folder: Path, ink: str = "auto", kind: str = DRAWINGS, tell: Callable[[], object] = int
) -> Collection:
    """Reads a folder with one sub-folder per class, of one picture or more each.

    Args:
        folder: its sub-folders are the classes; pictures beside them are passed over.
        ink: see `read_picture`.
        kind: see `read_picture`.
        tell: see `Collection`.

    Raises:
        DataError: if there are fewer than two classes, or a class has no readable picture.
    """
    listed = list_folder(folder, "SUPPORT")
    support = Collection(passed=[*listed.dropped], ink=ink, kind=kind, tell=tell)
    if len(listed.folders) < 2:
        raise DataError(
            f"SUPPORT {folder}: has {counted(len(listed.folders), 'sub-folder')}; expected at "
            "least 2, one per class, with its pictures inside"
        )
    if loose := sum(path.is_file() for path in listed.pictures):
        support.passed.append(f"{folder}: {counted(loose, 'picture')} passed over, in no class")
    for path in listed.folders:
        read, skipped, passed = len(support.files), len(support.skipped), len(support.passed)
        support._read_class(path)
        if len(support.files) == read:
            why = [*support.skipped[skipped:], *support.passed[passed:]]
            about = why[-1] if why else f"expected {', '.join(SUFFIXES)}"
            raise DataError(f"SUPPORT {path}: has no readable picture; {about}")
    support.passed += [*_same_names(support.names), *_same_pictures(support)]
    return support


def _same_names(names: Sequence[str]) -> Iterable[str]:
    """Says of names that look alike what they are, such as é as one letter and as two."""
    alike = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFKC", name).casefold()].append(name)
    for several in alike.values():
        if len(several) > 1:
            yield f"{' and '.join(map(ascii, several))}: classes with nearly the same name"


def _same_pictures(support: Collection) -> Iterable[str]:
    """Says which pictures are the same file in several classes, a copying mistake."""
    alike = defaultdict(list)
    for file, name, digest in zip(support.files, support.classes, support.digests, strict=True):
        alike[digest].append((file, name))
    for several in alike.values():
        if len({name for _, name in several}) > 1:
            files = " and ".join(str(file) for file, _ in several)
            yield f"{files}: one picture in several classes"


def shared_pictures(support: Collection, queries: Collection) -> int:
    """Counts the query pictures that are support pictures, too."""
    examples = set(support.digests)
    return sum(digest in examples for digest in queries.digests)


def read_queries(
    paths: Sequence[Path],
    names: Sequence[str],
    ink: str = "auto",
    kind: str = DRAWINGS,
    tell: Callable[[], object] = int,
) -> Collection:
    """Reads query pictures.

    Args:
        paths: files, or folders of them. If a folder's sub-folders have the names of classes,
            their pictures are of these; if none has, all pictures below are read, and their
            classes are unknown.
        names: of the classes.
        ink: see `read_picture`.
        kind: see `read_picture`.
        tell: see `Collection`.

    Raises:
        DataError: if a path is missing, only some sub-folders have a class's name, or nothing is
            readable.
    """
    queries = Collection(ink=ink, kind=kind, tell=tell)
    for path in paths:
        if not path.exists():
            raise DataError(f"QUERY {path}: no such file or folder")
        if not path.is_dir():
            queries._read(path, None)
            continue
        listed = list_folder(path)
        if not any(folder.name in names for folder in listed.folders):
            queries._read_all(path)
            continue
        queries._read_files(listed, None)
        for folder in listed.folders:
            if folder.name not in names:
                raise DataError(
                    f"QUERY {folder}: no class is called {folder.name!r}; expected sub-folders "
                    f"named as the support's: {', '.join(names)}"
                )
            queries._read_class(folder)
    if not queries.files:
        about = "; ".join(queries.skipped) if queries.skipped else f"expected {', '.join(SUFFIXES)}"
        raise DataError(f"QUERY {paths[0]}: no readable picture; {about}")
    return queries


def count_pictures(paths: Sequence[Path]) -> int:
    """Counts the files with a picture's extension in folders, and those that are given."""
    inside = (file for path in paths if path.is_dir() for file in path.rglob("*"))
    files = sum(file.suffix.lower() in SUFFIXES for file in inside)
    return files + sum(not path.is_dir() for path in paths)


def list_folder(folder: Path, what: str = "QUERY") -> Listing:
    """Lists a folder.

    Raises:
        DataError: if there is none; the text begins with what it was given as.
    """
    if not folder.is_dir():
        raise DataError(f"{what} {folder}: no such folder")
    listed = Listing([], [], [], [])
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    for path in sorted(paths, key=lambda path: _natural(path.name)):
        if not path.is_dir():
            (listed.pictures if path.suffix.lower() in SUFFIXES else listed.others).append(path)
        elif path.name in DROPPINGS:
            listed.dropped.append(f"{path}: passed over, no pictures of yours")
        else:
            listed.folders.append(path)
    return listed


def _natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Returns a key by which numbers in names sort as numbers."""
    parts = re.split(r"(\d+)", name)
    ranks = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
    return ranks, name  # so that 1 and 01 differ
