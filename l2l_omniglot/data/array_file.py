"""Opens ``.npy`` files without pickle, and notices if one is cut short while it is mapped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from l2l_omniglot._util.reading import MOST_SIZE, UnreadableError, check_regular
from l2l_omniglot.errors import DataError

IN_MEMORY = 512 * 2**20  # bytes; smaller arrays are read, so that nothing can happen to their file

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ArrayFile:
    """Where an array comes from.

    Attributes:
        path: of the file.
        identity: its device and inode.
        end: its least size in bytes.
        mapped: whether the array is read from it on demand.
    """

    path: Path
    identity: tuple[int, int]
    end: int
    mapped: bool

    def check(self) -> None:
        """Refuses a mapped file that has become shorter: to read on would end the process.

        A file that was deleted, or replaced by another, is still there for who has it mapped.

        Raises:
            DataError: if it is.
        """
        if not self.mapped:
            return
        try:
            status = self.path.stat()
        except OSError:
            return
        if (status.st_dev, status.st_ino) == self.identity and status.st_size < self.end:
            raise DataError(
                f"{self.path}: was cut to {status.st_size} bytes of {self.end} while it was in "
                "use; write it again, then go on (`l2l-omniglot train --resume`)"
            )


def open_array(path: Path) -> tuple[Array, ArrayFile]:
    """Opens an array: in memory up to `IN_MEMORY` bytes, else mapped, for reading only.

    Raises:
        UnreadableError: if it is no regular file, no ``.npy`` file of numbers, or cut short.
        OSError: if it cannot be read.
    """
    check_regular(path.stat())  # before it is opened, for a pipe would wait
    with path.open("rb") as file:
        shape, order, dtype = _read_header(file)
        start, needed = file.tell(), prod(shape) * dtype.itemsize
        status = os.fstat(file.fileno())
        mapped = needed > IN_MEMORY
        content = b"" if mapped else file.read(needed)
        length = status.st_size - start if mapped else len(content)
    if length < needed:
        raise UnreadableError(f"has {length} bytes of {needed}: cut short")
    source = ArrayFile(path, (status.st_dev, status.st_ino), start + needed, mapped)
    try:
        if mapped:
            return np.memmap(path, dtype, "r", start, shape, order), source
        return np.frombuffer(content, dtype).reshape(shape, order=order), source
    except ValueError as error:  # more axes, or a larger product of them, than numpy has
        raise UnreadableError(f"its header has the shape {shape}: {error}") from error


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Reads shape, order (C or F) and type."""
    try:
        magic: Any = npy.read_magic
        version = magic(file)
        read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, in_fortran, dtype = read(file)
    except OSError:
        raise
    except Exception as error:  # numpy parses it as Python, which raises many kinds
        raise UnreadableError(f"its header is broken: {error}") from error
    if dtype.hasobject:
        raise UnreadableError("holds Python objects, which could run code; expected numbers")
    if dtype.subdtype:
        raise UnreadableError(f"holds {dtype}, arrays in an array; expected numbers")
    if not dtype.itemsize:
        raise UnreadableError(f"holds {dtype}, of 0 bytes; expected numbers")
    if not all(type(length) is int and 0 <= length <= MOST_SIZE for length in shape):
        raise UnreadableError(f"its header has the shape {shape}")
    return shape, "F" if in_fortran else "C", dtype
