import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from l2l_omniglot.data.one_shot_runs import OneShotRuns
from l2l_omniglot.errors import DataError


def test_support_query_and_answers(one_shot_runs: Path):
    found = OneShotRuns(one_shot_runs)
    assert (len(found), found.names) == (2, ("run01", "run02"))
    first, second = found.batch(0, 2)
    assert first.support.shape == first.query.shape == (20, 1, 28, 28)
    assert first.support_labels.tolist() == list(range(20))
    assert first.query_labels.tolist() == list(range(19, -1, -1))
    assert second.query_labels.tolist() == list(range(20))
    for task in (first, second):  # every item looks like the class it is said to be of
        assert torch.equal(task.query, task.support[task.query_labels])
    assert first.support.max() == 1 and first.support.mean() < 0.2  # ink is 1
    black = OneShotRuns(one_shot_runs, image_size=14, ink="black")[0]
    assert black.support.shape == (20, 1, 14, 14) and black.support.mean() > 0.8


def test_an_archive_gives_the_same_as_the_folder(one_shot_runs: Path, tmp_path: Path):
    path = tmp_path / "runs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in one_shot_runs.rglob("*.*"):
            archive.write(file, f"all_runs/{file.relative_to(one_shot_runs)}")
    for one, other in zip(
        OneShotRuns(one_shot_runs).batch(0, 2), OneShotRuns(path).batch(0, 2), strict=True
    ):
        assert torch.equal(one.query, other.query)
        assert torch.equal(one.query_labels, other.query_labels)


def test_what_is_broken_is_named(one_shot_runs: Path, tmp_path: Path):
    def broken(name: str, what: bytes | None) -> Path:
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(one_shot_runs, folder)
        (folder / name).unlink()
        if what is not None:
            (folder / name).write_bytes(what)
        return folder

    for name, what, said in (
        ("run02/training/class07.png", None, r"run02: training/class07\.png is missing"),
        ("run01/test/item03.png", b"no image", r"run01/test/item03\.png: cannot identify"),
        ("run01/class_labels.txt", None, r"run01: class_labels\.txt is missing"),
        ("run01/class_labels.txt", b"a b c\n", "expected two file names per line"),
        ("run01/class_labels.txt", b"", "0 test items; expected 20"),
        ("run01/class_labels.txt", b"run01/test/item01.png run01/x.png\n", r"x\.png is missing"),
    ):
        with pytest.raises(DataError, match=said):
            OneShotRuns(broken(name, what))
    twice = broken("run01/class_labels.txt", b"")
    shutil.copytree(one_shot_runs / "run02", twice / "elsewhere" / "run02")
    with pytest.raises(DataError, match=r"contains run02/\S+ twice"):
        OneShotRuns(twice)
    with pytest.raises(DataError, match="no such file or folder"):
        OneShotRuns(tmp_path / "nowhere")
    shutil.rmtree(one_shot_runs / "run02")
    with pytest.raises(DataError, match="1 one-shot runs found; expected at least 2"):
        OneShotRuns(one_shot_runs)


@pytest.mark.real
def test_the_official_runs(real_source: Path):
    """Nearest pixels get about 60 % wrong or less: the labels are read right."""
    from l2l_omniglot.meta.baselines import nearest_pixels

    runs = OneShotRuns(real_source / "one_shot_runs_01_10.zip")
    assert len(runs) == 10
    for task in runs.batch(0, 10):
        assert sorted(task.query_labels.tolist()) == list(range(20))
    assert nearest_pixels(runs, 10).accuracy > 0.2  # chance is 0.05
