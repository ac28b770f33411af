"""Reading files that anybody may have made: regular ones, within bounds, JSON within a depth.

The bounds of all readers stand here; docs/reliability.md lists them.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import IO, Any

MIB = 2**20
# Bytes of a file, or of an archive's entry.
MOST_JSON = 64 * MIB  # sidecars, splits, cards, a run's config; Omniglot's sidecar has 0.2 MiB
MOST_TOML = MIB // 4
MOST_METRICS = 64 * MIB
MOST_PICTURE = 256 * MIB
MOST_UPLOAD = 16 * MIB  # a picture sent to the page; a phone's photograph has 2 to 12 MiB
MOST_ARCHIVE = 1024 * MIB
MOST_DOWNLOAD = 64 * MIB
MOST_ENTRY = MIB  # a drawing of Omniglot has 300 bytes
MOST_CHECKPOINT = 4096 * MIB
# Counts.
MOST_UPLOADED_PIXELS = 26_000_000  # a phone's photographs have 12 or 24 million
MOST_ENTRIES = 1_000_000  # of an archive or a folder; Omniglot has 32,460 drawings
MOST_SCANS = 50  # of a JPEG file, each of which takes all pixels' time; most have 1 to 15
MOST_DOTS = 100  # of a line of TOML, whose reader takes their square
DEEPEST = 32  # lists and objects inside each other, in JSON and TOML
LONGEST_NUMBER = 400  # digits of an integer
LONGEST_REASON = 300  # letters of why a file is not read
MOST_SIZE = 2**40  # of one axis of an array
# Without O_NONBLOCK the opening of a pipe would wait for its other end. Windows has neither flag.
OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class UnreadableError(ValueError):
    """A file, or a text, that is not read; says why."""


def read_bytes(path: Path, most: int) -> bytes:
    """Reads a regular file of at most so many bytes.

    Raises:
        UnreadableError: if it is a folder, a pipe, a device, or larger.
        OSError: if there is none, or it cannot be read.
    """
    check_regular(path.stat())  # a socket cannot be opened
    handle = os.open(path, OPEN)
    try:
        check_regular(os.fstat(handle))  # before it is a file object, which a folder cannot become
        with os.fdopen(handle, "rb", closefd=False) as file:
            return read_most(file, most)
    finally:
        os.close(handle)


def read_most(file: IO[bytes], most: int) -> bytes:
    """Reads an open file of at most so many bytes, whatever size it says it has.

    Raises:
        UnreadableError: if it is larger.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise UnreadableError(f"larger than {size_text(most)}")
    return content


def reason_of(error: Exception) -> str:
    """Says why a file could not be read, without its path, which an `OSError` repeats.

    What other programs quote of the file is shortened.
    """
    if isinstance(error, KeyError):
        return f"there is no entry {error}"
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    if "set_int_max_str_digits" in text:  # Python's, of advice to programmers
        return "a number of too many digits"
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def check_regular(status: os.stat_result) -> None:
    """Refuses what is no regular file, such as a pipe, which may never end.

    Raises:
        UnreadableError: if it is none.
    """
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise UnreadableError(f"{what}, not a regular file")


def read_text(path: Path, most: int) -> str:
    """Reads a regular file in UTF-8.

    Raises:
        UnreadableError: see `read_bytes`; or if it is not UTF-8.
        OSError: see `read_bytes`.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8: {error}") from error


def read_json(path: Path) -> Any:
    """Reads a regular file of JSON.

    Raises:
        UnreadableError: see `read_text` and `parse_json`.
        OSError: see `read_bytes`.
    """
    return parse_json(read_text(path, MOST_JSON))


def parse_json(text: str | bytes) -> Any:
    """Parses JSON.

    Raises:
        UnreadableError: if it is none, nested deeper than `DEEPEST`, or has a longer number.
    """
    try:
        value = json.loads(text, parse_int=_parse_int)
    except RecursionError as error:
        raise UnreadableError("nested too deep") from error
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Refuses lists and dicts inside each other beyond `DEEPEST`; uses no recursion.

    Raises:
        UnreadableError: if so.
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = (each for each in level if isinstance(each, (list, dict)))
        level = [
            entry for each in inner for entry in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise UnreadableError(f"nested deeper than {DEEPEST}")


def _parse_int(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise UnreadableError(f"a number of {len(digits)} digits")
    return int(digits)


def size_text(count: int) -> str:
    """Formats bytes: 64 MiB."""
    return f"{count // MIB} MiB" if count >= MIB else f"{count} bytes"
