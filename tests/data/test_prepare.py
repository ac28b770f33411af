import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import fill_archives

from l2l_omniglot.data import omniglot
from l2l_omniglot.data.omniglot import prepare_stack
from l2l_omniglot.data.stack import load_stack
from l2l_omniglot.errors import DataError


def edit(source: Path, target: Path, name: str, change: bytes | None) -> None:
    """Copies an archive with one file replaced, or left out where `change` is None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
            elif change is not None:
                new.writestr(entry, change)


@pytest.fixture
def few_archives(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives that are whole as long as Omniglot is said to have these characters."""
    folder, characters = tmp_path_factory.mktemp("few"), {"background": 45, "evaluation": 45}
    monkeypatch.setattr(omniglot, "CHARACTERS", characters)
    fill_archives(characters, folder)
    return folder


def test_stack_sidecar_and_order(raw_archives: Path, tmp_path: Path):
    counts = []
    sidecar = prepare_stack(
        [raw_archives], tmp_path / "o.npy", 14, progress=lambda *n: counts.append(n)
    )
    stack = load_stack(tmp_path / "o.npy")
    assert stack.images_per_class == (20,) * 1623
    assert (stack.channels, stack.image_size) == (1, 14)
    assert np.load(tmp_path / "o.npy").dtype == np.uint8
    assert list(stack.names[:964]) == sorted(stack.names[:964])
    assert stack.names[0] == "background/Alphabet_00/character01"
    assert stack.names[964] == "evaluation/Alphabet_00/character01"
    assert stack.background == "white"
    assert sidecar.sha256 == stack.sha256
    assert counts[-1] == (1623, 1623)
    assert json.loads((tmp_path / "o.json").read_text())["image_size"] == 14
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json", "o.npy"]


def test_archives_and_extracted_folders_give_the_same_bytes(few_archives: Path, tmp_path: Path):
    folders = tmp_path / "extracted"
    for path in sorted(few_archives.iterdir()):
        zipfile.ZipFile(path).extractall(folders)
    prepare_stack(sorted(few_archives.iterdir(), reverse=True), tmp_path / "a.npy", 14)
    prepare_stack(sorted(folders.iterdir()), tmp_path / "b.npy", 14)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_missing_and_broken_images_are_named_and_nothing_is_written(
    few_archives: Path, tmp_path: Path
):
    missing = "images_background/Alphabet_00/character03/0002_07.png"
    broken = "images_evaluation/Alphabet_01/character01/0040_20.png"
    for subset, name, change in (
        ("background", missing, None),
        ("evaluation", broken, b"\x89PNG but no more"),
    ):
        file = f"images_{subset}.zip"
        edit(few_archives / file, tmp_path / file, name, change)
    out = tmp_path / "out" / "o.npy"
    with pytest.raises(DataError) as caught:
        prepare_stack([tmp_path], out, 14)
    text = str(caught.value)
    assert "images_background/Alphabet_00/character03: missing drawing by drawer 07" in text
    assert broken in text
    assert not out.parent.exists()


def test_one_archive_alone_is_not_enough(few_archives: Path, tmp_path: Path):
    with pytest.raises(DataError, match="images_evaluation: 0 characters, expected 45"):
        prepare_stack([few_archives / "images_background.zip"], tmp_path / "o.npy", 14)


def test_broken_archive_and_wrong_source(few_archives: Path, tmp_path: Path):
    cut = tmp_path / "images_background.zip"
    cut.write_bytes((few_archives / cut.name).read_bytes()[:5000])
    with pytest.raises(DataError, match="not a readable zip archive"):
        prepare_stack([cut], tmp_path / "o.npy")
    with pytest.raises(DataError, match="no such file or folder"):
        prepare_stack([tmp_path / "nowhere"], tmp_path / "o.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no Omniglot image found"):
        prepare_stack([tmp_path / "empty"], tmp_path / "o.npy")


def test_existing_stack_survives_a_failed_prepare(few_archives: Path, tmp_path: Path):
    out = tmp_path / "o.npy"
    prepare_stack([few_archives], out, 14)
    before = out.read_bytes()
    with pytest.raises(DataError):
        prepare_stack([few_archives / "images_background.zip"], out, 14)
    assert out.read_bytes() == before


def test_a_stack_that_does_not_fit_its_sidecar_is_refused(raw_npy: Path, tmp_path: Path):
    np.save(tmp_path / "b.npy", np.zeros((1623, 20, 1, 28, 28), np.uint8))
    shutil.copy(raw_npy.with_suffix(".json"), tmp_path / "b.json")
    with pytest.raises(DataError, match=r"digest .* but its sidecar describes"):
        load_stack(tmp_path / "b.npy")


@pytest.mark.real
def test_real_omniglot(real_npy: Path):
    stack = load_stack(real_npy)
    assert stack.images_per_class == (20,) * 1623
    assert (stack.channels, stack.image_size) == (1, 28)
    assert stack.names[0] == "background/Alphabet_of_the_Magi/character01"
    assert stack.names[-1] == "evaluation/ULOG/character26"
    assert len({entry.alphabet for entry in stack.info}) == 50
    images = stack.images([0, 1622], [0, 19])
    assert 0 <= images.min() < 0.05 < images.mean() < 0.3 < images.max() <= 1  # ink is 1


@pytest.mark.real
def test_real_omniglot_same_bytes_again(real_npy: Path, real_source: Path, tmp_path: Path):
    archives = sorted(real_source.glob("images_*.zip"), reverse=True)
    prepare_stack(archives, tmp_path / "again.npy")
    assert (tmp_path / "again.npy").read_bytes() == real_npy.read_bytes()
