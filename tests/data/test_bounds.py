"""Files that once made a reader hang or fill the memory."""

import os
from pathlib import Path

import pytest
from fuzz import zipped

from l2l_omniglot._util.reading import MOST_ENTRY
from l2l_omniglot.cli import cli
from l2l_omniglot.cli.config import read_config
from l2l_omniglot.data.omniglot import open_characters
from l2l_omniglot.data.one_shot_runs import OneShotRuns
from l2l_omniglot.errors import DataError, SettingsError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a." * 50_000 + "b = 1", "a line of more than 100 dots"),
        ("a = " + "[" * 40 + "]" * 40, "nested deeper than 32"),
        ("a = " + "[" * 20_000 + "]" * 20_000, ": "),
        ("ways = " + "9" * 5000, ": "),
        ("# " + "x" * 300_000, "larger than"),
    ],
)
def test_a_file_of_options(tmp_path: Path, text: str, said: str):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"a\.toml: not a readable TOML file: ") as caught:
        read_config(tmp_path / "a.toml", cli)
    assert said in str(caught.value)


def test_labels_of_megabytes_of_blanks(tmp_path: Path):
    files = {f"{run}/class_labels.txt": b" " * (MOST_ENTRY + 1) for run in ("run01", "run02")}
    (tmp_path / "all_runs.zip").write_bytes(zipped(files))
    with pytest.raises(DataError, match=r"class_labels\.txt: larger than 1 MiB"):
        OneShotRuns(tmp_path / "all_runs.zip")


def test_a_pipe_and_a_device_among_the_images(tmp_path: Path):
    folder = tmp_path / "images_background/Greek/character01"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "0001_01.png")
    (folder / "0001_02.png").symlink_to("/dev/zero")
    (folder / "0001_03.png").write_bytes(bytes(MOST_ENTRY + 1))
    with open_characters([tmp_path]) as (character,):
        assert list(character.drawings) == [3]
        with pytest.raises(ValueError, match="larger than 1 MiB"):
            character.drawings[3][1]()
