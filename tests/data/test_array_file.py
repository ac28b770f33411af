"""Headers of strangers, and files that change while they are in use."""

import os
from pathlib import Path

import numpy as np
import pytest

from l2l_omniglot._util.reading import LONGEST_REASON
from l2l_omniglot.data import array_file
from l2l_omniglot.data.array_file import open_array
from l2l_omniglot.data.stack import load_stack
from l2l_omniglot.errors import DataError

HEADER = "{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}"


def write(path: Path, header: str, content: bytes = bytes(64), version: int = 1) -> Path:
    text = header.encode("latin1")
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + text + content)
    return path


@pytest.mark.parametrize(
    "header",
    [
        HEADER.format("|u1", "False", "(-1, 2, 3, 3)"),
        HEADER.format("|u1", "False", f"({2**63}, 2, 3, 3)"),
        HEADER.format("|u1", "False", f"({2**70}, 2, 3, 3)"),
        HEADER.format("|u1", "False", "(1.5, 2, 3, 3)"),
        HEADER.format("|u1", "False", "(True, 2, 3, 3)"),
        HEADER.format("|u1", "False", f"({'9' * 5000},)"),
        HEADER.format("|u1", "False", "-" * 5000 + "1"),
        HEADER.format("|u1", "False", "(" * 500 + ")" * 500),
        HEADER.format("|O", "False", "(1,)"),
        HEADER.format("|S0", "False", "(1, 2, 3, 3)"),
        HEADER.format("|u1", "False", "(9, 9, 9, 9)"),
        HEADER.format("|u1", "False", f"({f'{2**40}, ' * 30} 0)"),
        HEADER.format("|u1", "False", f"({'1, ' * 70} 1)"),
        HEADER.replace("'{}'", "('|u1', (3,))", 1).format("False", "(1, 2, 3, 3)"),
        HEADER.format("no type", "False", "(1,)"),
        "  {'descr': '|u1',\n x\n y",
        "{'descr': __import__('os').system('false')}",
        "",
        "\0" * 40,
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_broken_header_is_one_sentence(tmp_path: Path, header: str, version: int):
    path = write(tmp_path / "a.npy", header, version=version)
    with pytest.raises(DataError, match=r"a\.npy: not a readable \.npy array: ") as caught:
        load_stack(path)
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 2 * LONGEST_REASON


def test_a_pipe_a_folder_and_a_device_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "device.npy").symlink_to("/dev/zero")
    (tmp_path / "folder.npy").mkdir()
    for name in ("pipe", "device", "folder"):
        with pytest.raises(DataError, match=rf"{name}\.npy: no such file; expected a"):
            load_stack(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("order", ["C", "F"])
def test_small_and_large_arrays_have_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
):
    expected = np.asarray(np.random.default_rng(0).random((3, 2, 5, 5)), order=order)
    np.save(tmp_path / "a.npy", expected)
    read, source = open_array(tmp_path / "a.npy")
    monkeypatch.setattr(array_file, "IN_MEMORY", 10)
    mapped, other = open_array(tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap) and not isinstance(read, np.memmap)
    for found in (read, mapped):
        np.testing.assert_array_equal(found, expected)
        assert not found.flags.writeable
    assert (source.mapped, other.mapped) == (False, True)


def test_a_file_that_is_cut_while_it_is_mapped_is_an_error_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """To read what was cut off would end the process by SIGBUS."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((10, 4, 50, 50), np.uint8))
    monkeypatch.setattr(array_file, "IN_MEMORY", 10)
    stack = load_stack(path)
    os.truncate(path, 5000)
    with pytest.raises(DataError, match=r"was cut to 5000 bytes of \d+ while it was in use"):
        stack.images([9], [0])
    path.unlink()
    path.write_bytes(b"another file")  # the mapped one still has its bytes on other systems
    assert stack._file is not None
    stack._file.check()


def test_a_small_file_may_be_cut_replaced_or_deleted(tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, np.full((10, 4, 5, 5), 7, np.uint8))
    stack = load_stack(path)
    before = stack.images([9], [3])
    path.write_bytes(b"")
    assert (stack.images([9], [3]) == before).all()
