import os
from pathlib import Path

import pytest

from l2l_omniglot._util.files import CACHE_VARIABLE
from l2l_omniglot._util.kept import kept


def made(recipe: bytes = b"recipe", result: bytes = b"result", name: str = "name") -> bool:
    """Returns whether what is asked for had to be made."""
    calls = []

    def make() -> bytes:
        calls.append(recipe)
        return result

    assert kept(name, recipe, len(result), make) == result
    return bool(calls)


@pytest.fixture
def file() -> Path:
    assert made()
    return Path(os.environ[CACHE_VARIABLE], "name")


def test_it_is_made_once(file: Path):
    assert not made()
    assert [path.name for path in file.parent.iterdir()] == ["name"]


def test_another_recipe_takes_its_place(file: Path):
    assert made(b"other", b"changed")
    assert not made(b"other", b"changed")
    assert made()


def test_another_name_is_beside_it(file: Path):
    assert made(b"other", b"changed", "beside")
    assert not made() and not made(b"other", b"changed", "beside")


@pytest.mark.parametrize("place", [0, 31, 32, -1])
def test_a_flipped_bit_is_noticed_and_mended(file: Path, place: int):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert made()
    assert not made()


@pytest.mark.parametrize("length", [0, 10, 32, 37])
def test_so_is_a_file_that_was_cut(file: Path, length: int):
    file.write_bytes(file.read_bytes()[:length])
    assert made()
    assert not made()


def test_a_longer_file_is_not_read(file: Path):
    os.truncate(file, 1 << 40)  # a hole
    assert made()
    assert not made()


def test_where_nothing_can_be_kept_it_is_made_each_time(monkeypatch: pytest.MonkeyPatch):
    Path("file").touch()
    for folder in ("file", "/proc"):
        monkeypatch.setenv(CACHE_VARIABLE, folder)
        assert made() and made()


def test_a_folder_in_its_place_is_left(file: Path):
    file.unlink()
    file.mkdir()
    assert made() and made()
    assert file.is_dir()
