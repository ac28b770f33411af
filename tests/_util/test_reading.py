"""Files that anybody may have made: bounds of bytes, depth and digits; only regular files."""

import json
import os
from pathlib import Path

import pytest

from l2l_omniglot._util.reading import (
    DEEPEST,
    LONGEST_NUMBER,
    UnreadableError,
    parse_json,
    read_bytes,
    read_text,
)


def test_a_file_is_read_up_to_its_bound(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(UnreadableError, match="larger than 4 bytes"):
        read_bytes(path, 4)
    path.write_bytes(b"\xff")
    with pytest.raises(UnreadableError, match="not UTF-8"):
        read_text(path, 5)


def test_only_regular_files_are_read_and_nothing_waits(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(UnreadableError, match="a pipe, a socket or a device, not a regular"):
            read_bytes(tmp_path / name, 10)
    with pytest.raises((UnreadableError, IsADirectoryError)):
        read_bytes(tmp_path, 10)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none", 10)


@pytest.mark.parametrize("kind", ["[]", '{"a":}'])
def test_json_is_read_up_to_its_depth(kind: str):
    def nested(depth: int) -> str:
        return kind[:-1] * depth + "1" + kind[-1] * depth

    assert parse_json(nested(DEEPEST)) is not None
    for depth in (DEEPEST + 1, 900, 100_000):
        with pytest.raises(UnreadableError, match="nested (deeper than|too deep)"):
            parse_json(nested(depth))


def test_numbers_are_read_up_to_their_digits():
    assert parse_json("9" * LONGEST_NUMBER) == int("9" * LONGEST_NUMBER)
    for digits in (LONGEST_NUMBER + 1, 5000, 100_000):
        with pytest.raises(UnreadableError, match=f"a number of {digits} digits"):
            parse_json("9" * digits)


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", b"\xff\xfe", b'"\x80"'])
def test_what_is_no_json_is_refused(text: str | bytes):
    with pytest.raises(UnreadableError, match="not JSON"):
        parse_json(text)


def test_many_values_side_by_side_are_fine():
    assert parse_json(json.dumps(list(range(10_000)))) == list(range(10_000))
