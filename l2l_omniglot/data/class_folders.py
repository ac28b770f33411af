"""A folder of pictures as a data set: one sub-folder a class, or one a group of classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l2l_omniglot._util.reading import MOST_ENTRIES
from l2l_omniglot._util.text import counted, reasons, shown
from l2l_omniglot.data import DRAWINGS, IMAGES, KINDS
from l2l_omniglot.data.light import Pixels
from l2l_omniglot.data.omniglot import Progress, check_beside
from l2l_omniglot.data.picture_folders import Listing, list_folder
from l2l_omniglot.data.pictures import SUFFIXES, read_picture, shrink
from l2l_omniglot.data.sidecar import ClassInfo, Sidecar
from l2l_omniglot.data.stack_writer import StackWriter
from l2l_omniglot.errors import DataError, check_choice, check_number, refused

SMALLEST, LARGEST = 8, 512  # pixels a side
MOST_PIXELS = 60_000_000  # of a picture; decoding takes some 15 bytes for each


class Looks(NamedTuple):
    """How pictures become images of a stack.

    Attributes:
        image_size: pixels a side, 8 to 512.
        colour: whether images have three channels, RGB, and not one, grey.
        kind: see `l2l_omniglot.data.KINDS`; drawings are grey.
        ink: of drawings, see `read_picture`.
        least: images of a class; one with fewer is left out.
    """

    image_size: int = 28
    colour: bool = False
    kind: str = IMAGES
    ink: str = "auto"
    least: int = 1

    def check(self) -> None:
        """Checks the values.

        Raises:
            DataError: if one is out of range.
        """
        check_number(
            "image_size", self.image_size, minimum=SMALLEST, maximum=LARGEST, kind=DataError
        )
        check_number("least", self.least, minimum=1, kind=DataError)
        check_choice("kind", self.kind, KINDS, kind=DataError)
        if self.colour and self.kind == DRAWINGS:
            raise refused("colour", True, f"expected grey, or {IMAGES}", DataError)

    def read(self, file: Path) -> Pixels:
        """Reads a picture: uint8 (1 or 3, image_size, image_size).

        Raises:
            DataError: see `read_picture`.
        """
        picture = read_picture(file, self.ink, self.kind, MOST_PIXELS).prepared("auto")
        pixels = shrink(picture.convert("RGB" if self.colour else "L"), self.image_size)
        return np.atleast_3d(pixels).transpose(2, 0, 1)


@dataclass
class ClassFolders:
    """The classes of a folder, and what in it is none.

    Attributes:
        folder: that holds them.
        files: the pictures of each class.
        passed: one sentence for each file or folder that was passed over.
    """

    folder: Path
    files: dict[ClassInfo, list[Path]] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Returns the number of pictures."""
        return sum(map(len, self.files.values()))

    @property
    def recipe(self) -> str:
        """Returns a digest of what there is: names, sizes and times of all pictures."""
        digest = hashlib.sha256()
        for info, files in self.files.items():
            stats = [(file.name, *_times(file)) for file in files]
            digest.update(json.dumps([info.name, stats]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _add(self, info: ClassInfo, folder: Path, listed: Listing) -> None:
        self.passed += [f"{path}: passed over, one folder too deep" for path in listed.folders]
        if odd := len(listed.others):
            self.passed.append(f"{folder}: {counted(odd, 'file')} passed over, no picture's name")
        if listed.pictures:
            self.files[info] = listed.pictures
        elif not listed.folders:
            self.passed.append(f"{folder}: passed over, without a picture")


class Prepared(NamedTuple):
    """What became of a folder.

    Attributes:
        sidecar: of the stack that was written.
        left: one sentence for each picture that could not be read.
        small: the names of the classes that were left out, with too few images.
    """

    sidecar: Sidecar
    left: list[str]
    small: list[str]


def list_classes(folder: Path) -> ClassFolders:
    """Lists the classes of a folder, in natural order: 2 before 10.

    If a sub-folder has pictures, each is a class; otherwise each is a group, such as an alphabet,
    and its sub-folders are classes.

    Raises:
        DataError: if the folder is missing, or has fewer than two classes.
    """
    whole = _listed(folder)
    classes = ClassFolders(folder, passed=[*whole.dropped])
    tops = {path: _listed(path) for path in whole.folders}
    if any(listed.pictures for listed in tops.values()):
        _check_alike(folder, tops)
        for path, listed in tops.items():
            classes._add(ClassInfo(path.name, character=path.name), path, listed)
    else:
        for group, inner in tops.items():
            classes.passed += inner.dropped
            for path in inner.folders:
                name = f"{group.name}/{path.name}"
                info = ClassInfo(name, alphabet=group.name, character=path.name)
                classes._add(info, path, _listed(path))
    if len(classes.files) < 2:
        raise DataError(
            f"{shown(folder)}: has {counted(len(classes.files), 'sub-folder')} with pictures "
            f"({', '.join(SUFFIXES)}); expected at least 2, one a class, or folders of these"
        )
    if classes.count > MOST_ENTRIES:
        raise DataError(
            f"{shown(folder)}: {classes.count} pictures; expected at most {MOST_ENTRIES}"
        )
    return classes


def prepare_classes(
    classes: ClassFolders, out: Path, looks: Looks | None = None, progress: Progress | None = None
) -> Prepared:
    """Writes a folder's classes as a class stack, and its sidecar.

    Pictures that cannot be read are left out. Interrupted, it goes on with the same arguments,
    unless a picture has changed since.

    Args:
        classes: the classes.
        out: the ``.npy`` file, uint8 of shape (images, 1, 1 or 3, image_size, image_size).
        looks: how pictures become images; grey and of 28 pixels by default.
        progress: called with (pictures done, pictures in all), class by class.

    Raises:
        DataError: if fewer than two classes are left, another process writes the file, or a JSON
            file that is no sidecar would be replaced.
    """
    looks = looks or Looks()
    looks.check()
    check_beside(out)
    shape = 3 if looks.colour else 1, looks.image_size, looks.image_size
    recipe = recipe_of(classes, looks)
    with StackWriter(out, shape, recipe) as writer:
        every, done = classes.count, 0
        for number, (info, files) in enumerate(classes.files.items()):
            if number >= len(writer.done):
                left: list[str] = []
                writer.add(info, _read(files, looks, left), left, looks.least)
            done += len(files)
            if progress:
                progress(done, every)
        unread = [sentence for written in writer.done for sentence in written.left]
        small = [written.info.name for written in writer.done if not written.count]
        if len(writer.done) - len(small) < 2:
            writer.discard()
            few = f"fewer than 2 classes have {counted(looks.least, 'image')}"
            raise DataError(reasons([f"{classes.folder}: {few}", *unread]))
        sidecar = writer.finish(classes.folder.resolve().name, looks.kind)
        return Prepared(sidecar, unread, small)


def recipe_of(classes: ClassFolders, looks: Looks) -> str:
    """Returns a digest of all that decides how a stack looks."""
    return hashlib.sha256(json.dumps([classes.recipe, looks]).encode()).hexdigest()


def _read(files: list[Path], looks: Looks, left: list[str]) -> Iterator[Pixels]:
    """Yields the images of a class; says in `left` which were left out, and why."""
    for file in files:
        try:
            yield looks.read(file)
        except DataError as error:
            left.append(shown(str(error)))


def _listed(folder: Path) -> Listing:
    return list_folder(folder, "--classes")


def _check_alike(folder: Path, tops: dict[Path, Listing]) -> None:
    """Refuses a folder of which some sub-folders are classes and others hold classes."""
    classes = [path for path, listed in tops.items() if listed.pictures]
    for path, listed in tops.items():
        if not listed.pictures and any(_listed(inner).pictures for inner in listed.folders):
            raise DataError(
                f"{shown(folder)}: {shown(classes[0].name)!r} has pictures, and "
                f"{shown(path.name)!r} has folders of pictures; expected classes, or groups "
                "of classes, and not both"
            )


def _times(file: Path) -> tuple[int, int]:
    """Returns the size and time of a file, zeros if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_ctime_ns  # which a new owner or mode changes, too
