"""Files and folders that appear whole or not at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from l2l_omniglot._util.files import (
    CACHE_VARIABLE,
    atomic_write,
    cache_folder,
    folder_beside,
    resolved,
    whole_folder,
)
from l2l_omniglot.errors import SettingsError


@pytest.mark.parametrize("make", [atomic_write, folder_beside, whole_folder])
def test_what_cannot_be_made_is_named_and_no_temporary_name(
    make: Callable[[Path], AbstractContextManager[Any]], tmp_path: Path
):
    path = tmp_path / ("x" * 250)  # a temporary name is longer than a name may be
    with pytest.raises(OSError, match="name too long") as caught, make(path):
        pass
    assert caught.value.filename == str(path)
    assert [*tmp_path.iterdir()] == []


def test_links_in_a_circle_are_a_path_like_others(tmp_path: Path):
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    assert resolved(tmp_path / "one").parent == tmp_path.resolve()
    (tmp_path / "link").symlink_to(tmp_path)
    assert resolved(tmp_path / "link" / "x") == tmp_path.resolve() / "x"


def test_a_cache_folder_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(CACHE_VARIABLE, "~nobody-here/x")
    with pytest.raises(SettingsError, match="L2L_OMNIGLOT_CACHE='~nobody-here/x': expected a fo"):
        cache_folder()


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("half")
        raise ZeroDivisionError
    assert [*tmp_path.iterdir()] == []
    with whole_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("whole")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a/file").read_text() == "whole"
    assert [*tmp_path.iterdir()] == [tmp_path / "a"]
