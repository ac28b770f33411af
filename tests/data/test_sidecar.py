"""The sidecar's digest of itself: a flipped bit is an error, never another class name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from l2l_omniglot.data.sidecar import ClassInfo, Sidecar, read_sidecar, sidecar_path
from l2l_omniglot.errors import DataError

SIDECAR = Sidecar(
    tuple(ClassInfo(f"background/Greek/character{n:02d}", "background", "Greek") for n in range(9)),
    "somewhere", 28, "white", "ab" * 32, recipe="cd" * 32,
)  # fmt: skip


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    sidecar_path(tmp_path / "a.npy").write_text(SIDECAR.to_json())
    return tmp_path / "a.npy"


def test_it_is_read_as_it_was_written(npy: Path):
    assert read_sidecar(npy) == SIDECAR


def test_a_flipped_bit_is_an_error_or_changes_nothing(npy: Path):
    path, whole = sidecar_path(npy), SIDECAR.to_json().encode()
    random, refused = np.random.default_rng(0), 0
    for place in random.choice(8 * len(whole), 1000, replace=False):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert read_sidecar(npy) == SIDECAR  # white space, say; never None
        except DataError as error:
            assert "a.json: broken sidecar (" in str(error)
            refused += 1
    assert refused > 800


def test_a_cut_sidecar_is_an_error(npy: Path):
    whole = SIDECAR.to_json()
    for length in (0, 1, 20, 100, len(whole) - 3):
        sidecar_path(npy).write_text(whole[:length])
        with pytest.raises(DataError, match="broken sidecar"):
            read_sidecar(npy)


@pytest.mark.parametrize(
    "changed",
    [
        {"sha256": 5},
        {"recipe": 5},
        {"classes": 5},
        {"classes": [5]},
        {"classes": [{"name": 5}]},
        {"classes": [{"title": "x"}]},
        {"format": "l2l-omniglot stack 9"},
        {"more": 1},
        {"image_size": [[[[]]]] * 3},
    ],
)
def test_other_values_are_an_error(npy: Path, changed: dict):
    body = json.loads(SIDECAR.to_json()) | changed
    sidecar_path(npy).write_text(json.dumps(body))
    with pytest.raises(DataError, match="broken sidecar"):
        read_sidecar(npy)


def test_a_file_nested_deep_or_with_a_long_number_is_an_error(npy: Path):
    for text in ("[" * 100_000, '{"format": ' * 50 + "1" + "}" * 50, "9" * 5000):
        sidecar_path(npy).write_text(text)
        with pytest.raises(DataError, match="broken sidecar"):
            read_sidecar(npy)


def test_what_is_no_file_is_an_error_and_not_no_sidecar(npy: Path):
    path = npy.with_suffix(".json")
    for make in (os.mkfifo, os.mkdir, lambda place: place.symlink_to("nowhere")):
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        with pytest.raises(DataError, match=rf"{path.name}: "):
            read_sidecar(npy)


def test_somebody_elses_json_is_no_sidecar(npy: Path):
    for text in ('{"note": "mine"}', "[1, 2]", '"text"', '{"source": "x", "classes": 3}'):
        sidecar_path(npy).write_text(text)
        assert read_sidecar(npy) is None
