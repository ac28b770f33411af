"""Writes a class stack class by class, larger than memory; a killed one goes on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from l2l_omniglot._util.files import resolved, write_text
from l2l_omniglot._util.lock import Lock
from l2l_omniglot._util.reading import read_json
from l2l_omniglot.data.light import Pixels
from l2l_omniglot.data.sidecar import ClassInfo, Sidecar, sidecar_path
from l2l_omniglot.errors import DataError

HEADER = 128  # bytes, of any array of so few axes
SECONDS = 5.0  # of work that a kill costs at most
BLOCK = 2**22  # bytes read at once
OTHER = "another process writes it now; wait for its end, or stop it"


@dataclass(frozen=True)
class Written:
    """A class that was dealt with.

    Attributes:
        info: of the class.
        count: of its images in the stack; 0 if it was left out.
        left: one sentence for each picture that was left out.
    """

    info: ClassInfo
    count: int
    left: tuple[str, ...] = ()


class StackWriter:
    """A ``.npy`` file in the making: uint8 images, one class after the other.

    Images are collected in a hidden file beside it, and a second one says which classes are whole;
    both are removed when the stack is finished.

    Args:
        out: the ``.npy`` file.
        shape: of an image, (channels, H, W).
        recipe: all that decides what is written; what an interrupted writer of another recipe
            left is thrown away.

    Attributes:
        done: the classes that are written, those of an interrupted writer too.

    Raises:
        DataError: if another process writes the same file.
    """

    def __init__(self, out: Path, shape: tuple[int, int, int], recipe: str) -> None:
        if out.exists() and not out.is_file():
            raise DataError(f"{out}: is no regular file; expected the name of a .npy file")
        out = resolved(out)  # of a link, what it points at
        self._out, self._shape, self._recipe = out, shape, recipe
        self._part = out.with_name(f".{out.name}.part")
        self._journal = out.with_name(f".{out.name}.part.json")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._part.touch()
        self._lock = Lock(self._part)
        if not self._lock.take():
            raise DataError(f"{out}: {OTHER}")
        self.done = self._read()
        self._file: BinaryIO = self._part.open("r+b")
        self._file.truncate(self._end(self.done))
        self._file.seek(self._end(self.done))
        self._saved = time.monotonic()
        try:
            self._save()  # now, and not after the work, if a name is too long or the disk full
        except OSError:
            self.discard()
            raise

    def __enter__(self) -> StackWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._file.closed:
            self._save()
            self._file.close()
        self._lock.release()

    def add(
        self, info: ClassInfo, images: Iterable[Pixels], left: list[str], least: int = 1
    ) -> None:
        """Writes a class, unless it has too few images.

        Args:
            info: of the class.
            images: each of the stack's shape.
            left: one sentence for each picture that was left out; read after the images.
            least: images that a class needs.
        """
        start, count = self._file.tell(), 0
        for count, image in enumerate(images, 1):  # noqa: B007 - counts
            self._file.write(np.ascontiguousarray(image, dtype=np.uint8).reshape(self._shape).data)
        if count < least:
            self._file.seek(start)
            self._file.truncate()
            count = 0
        self.done.append(Written(info, count, tuple(left)))
        if time.monotonic() - self._saved >= SECONDS:
            self._save()

    def discard(self) -> None:
        """Removes all that was written."""
        self._file.close()
        for path in (self._part, self._journal):
            path.unlink(missing_ok=True)

    def finish(self, source: str, pictures: str) -> Sidecar:
        """Gives the stack its name, and writes its sidecar; see `Sidecar` for the arguments.

        Raises:
            DataError: if something else has changed the hidden file.
        """
        kept = [written for written in self.done if written.count]
        counts = tuple(written.count for written in kept)
        self._file.flush()
        if not self._part.exists() or self._part.stat().st_size != self._end(self.done):
            self.discard()
            raise DataError(f"{self._part}: was changed or deleted meanwhile; begin anew")
        sidecar = Sidecar(
            tuple(written.info for written in kept), source, self._shape[1], "white",
            self._digest(), counts, pictures, self._recipe,
        )  # fmt: skip
        self._file.seek(0)
        self._file.write(_header((sum(counts), 1, *self._shape)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        # The sidecar first: after a stop between the two, loading reports that they do not match.
        write_text(sidecar_path(self._out), sidecar.to_json())
        self._part.replace(self._out)
        self._journal.unlink(missing_ok=True)
        return sidecar

    def _end(self, done: list[Written]) -> int:
        """Returns where the images of some classes end in the file."""
        return HEADER + int(np.prod(self._shape)) * sum(written.count for written in done)

    def _digest(self) -> str:
        """Returns the digest of all images; those of an interrupted writer are read again."""
        digest = hashlib.sha256()
        with self._part.open("rb") as file:
            file.seek(HEADER)
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def _save(self) -> None:
        """Says which classes are whole, once their images are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        entries = [asdict(written) for written in self.done]
        body = {"recipe": self._recipe, "done": entries}
        write_text(self._journal, json.dumps(body, indent=1) + "\n")
        self._saved = time.monotonic()

    def _read(self) -> list[Written]:
        """Reads what an interrupted writer of the same recipe has done."""
        try:
            body = read_json(self._journal)
            done = [_written(entry) for entry in body["done"]] * (body["recipe"] == self._recipe)
        except (OSError, ValueError, KeyError, TypeError):  # not readable, or of another form
            return []  # begun anew, whatever it was
        return done if self._part.stat().st_size >= self._end(done) else []


def _written(entry: dict[str, Any]) -> Written:
    return Written(ClassInfo(**entry["info"]), int(entry["count"]), tuple(entry["left"]))


def _header(shape: tuple[int, ...]) -> bytes:
    """Returns the header of an array of uint8, as long whatever the number of images."""
    file = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, about)
    header = file.getvalue()
    assert len(header) == HEADER, header
    return header
