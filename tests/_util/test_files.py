"""Files and folders that appear whole or not at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from l2l_omniglot._util.files import atomic_write, folder_beside, whole_folder


@pytest.mark.parametrize("make", [atomic_write, folder_beside, whole_folder])
def test_what_cannot_be_made_is_named_and_no_temporary_name(
    make: Callable[[Path], AbstractContextManager[Any]], tmp_path: Path
):
    path = tmp_path / ("x" * 250)  # a temporary name is longer than a name may be
    with pytest.raises(OSError, match="name too long") as caught, make(path):
        pass
    assert caught.value.filename == str(path)
    assert [*tmp_path.iterdir()] == []


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
