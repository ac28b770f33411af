"""Folders of pictures as data sets: what is read, left out and kept, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from PIL import Image
from processes import Started

from l2l_omniglot.data import class_folders, stack_writer
from l2l_omniglot.data.class_folders import Looks, list_classes, prepare_classes
from l2l_omniglot.data.pictures import read_picture
from l2l_omniglot.data.splits import make_splits
from l2l_omniglot.data.stack import load_stack
from l2l_omniglot.data.stack_writer import HEADER, StackWriter
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import DataError, SettingsError

COUNTS = {"one": 4, "two": 6, "ten": 5, "1": 3, "10": 3, "2": 3}
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), (9, 9, 9))


def picture(path: Path, colour: tuple[int, int, int], number: int, size=(20, 20)) -> None:
    """A square of a colour on grey, each a little further to the right."""
    image = Image.new("RGB", size, (128, 128, 128))
    image.paste(colour, (number, 4, number + 8, 12))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for (name, count), colour in zip(COUNTS.items(), COLOURS, strict=True):
        for number in range(count):
            picture(tmp_path / "set" / name / f"{number}.png", colour, number)
    return tmp_path / "set"


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    for group in "abcdefgh":
        for name, colour in zip("xyz", COLOURS, strict=False):
            for number in range(4):
                picture(tmp_path / "grouped" / group / name / f"{number}.bmp", colour, number)
    return tmp_path / "grouped"


def test_every_sub_folder_is_a_class_in_natural_order(folder: Path, tmp_path: Path):
    found = list_classes(folder)
    done = prepare_classes(found, tmp_path / "mine.npy", Looks(20, colour=True))
    stack = load_stack(tmp_path / "mine.npy")
    assert stack.names == ("1", "2", "10", "one", "ten", "two") and done.left == []
    assert stack.images_per_class == (3, 3, 3, 4, 5, 6) == done.sidecar.counts
    assert (stack.channels, stack.image_size, stack.pictures) == (3, 20, "images")
    for number, entry in enumerate(stack.info):
        for item, file in enumerate(found.files[entry]):
            image = 1 - stack.images([number], [item])[0]  # paper is 0 to a network
            expected = np.asarray(Image.open(file)).transpose(2, 0, 1) / np.float32(255)
            np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_groups_stay_apart_in_a_split(grouped: Path, tmp_path: Path):
    prepare_classes(list_classes(grouped), tmp_path / "mine.npy")
    stack = load_stack(tmp_path / "mine.npy")
    assert stack.names[:4] == ("a/x", "a/y", "a/z", "b/x")
    splits = make_splits(stack.info, "groups", seed=3)
    parts = [{stack.info[number].alphabet for number in part} for part in splits]
    assert sorted(group for part in parts for group in part) == list("abcdefgh")
    assert [len(part) for part in splits] == [12, 6, 6]
    other = make_splits(stack.info, "groups", seed=4)
    assert other != splits == make_splits(stack.info, "groups", seed=3)
    few = make_splits(stack.info, "groups", validation_classes=1, test_classes=4)
    assert [len(part) for part in few] == [15, 3, 6]  # whole groups
    three = [entry for entry in stack.info if entry.alphabet in "abc"]
    assert [len(part) for part in make_splits(three, "groups", test_classes=3)] == [3, 3, 3]
    with pytest.raises(DataError, match="test_classes=5: expected at most 3, so that each part"):
        make_splits(three, "groups", test_classes=5)
    with pytest.raises(DataError, match="split='groups': 2 groups of classes are known"):
        make_splits(three[:6], "groups")


def test_numbers_of_test_classes_are_asked_for(grouped: Path, tmp_path: Path):
    prepare_classes(list_classes(grouped), tmp_path / "mine.npy")
    info = load_stack(tmp_path / "mine.npy").info
    assert [len(p) for p in make_splits(info, "random", 0, 4, 5)] == [15, 4, 5]
    with pytest.raises(DataError, match="test_classes=24: expected 1 to 22"):
        make_splits(info, "random", 0, 0, 24)
    with pytest.raises(DataError, match="test_classes=3: no number with split 'alphabets'"):
        make_splits(info, "alphabets", 0, 0, 3)


def test_tasks_take_classes_of_unequal_size(folder: Path, tmp_path: Path):
    prepare_classes(list_classes(folder), tmp_path / "mine.npy")
    stack = load_stack(tmp_path / "mine.npy")
    task = Tasks(stack, range(6), ways=3, shots=1, queries=2)[0]
    assert task.support.shape == (3, 1, 28, 28) and task.query.shape == (6, 1, 28, 28)
    with pytest.raises(DataError, match="3 to 6 images per class, fewest in '1'; 2 shots"):
        Tasks(stack, range(6), ways=3, shots=2, queries=2)


def test_what_is_no_picture_is_left_out_and_named(folder: Path, tmp_path: Path):
    (folder / "two" / "7.png").write_bytes(b"no picture")
    os.mkfifo(folder / "two" / "8.png")
    (folder / "two" / "9.jpg").symlink_to("/dev/zero")
    (folder / "two" / "notes.txt").write_text("no picture")
    (folder / "two" / "deeper").mkdir()
    (folder / "empty").mkdir()
    (folder / "__MACOSX").mkdir()
    (folder / ".hidden").mkdir()
    found = list_classes(folder)
    done = prepare_classes(found, tmp_path / "mine.npy", Looks(least=4))
    assert done.sidecar.counts == (4, 5, 6)
    reasons = " ".join(done.left)
    assert "7.png: not a readable picture" in reasons and "8.png: not a readable" in reasons
    assert "9.jpg: not a readable picture" in reasons
    assert done.small == ["1", "2", "10"] and len(done.left) == 3
    passed = [sentence.replace(str(folder), "") for sentence in found.passed]
    assert passed == [
        "/__MACOSX: passed over, no pictures of yours",
        "/empty: passed over, without a picture",
        "/two/deeper: passed over, one folder too deep",
        "/two: 1 file passed over, no picture's name",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "--classes {}: no such folder"),
        (lambda f: f.mkdir(), "has 0 sub-folders with pictures"),
        (lambda f: picture(f / "a" / "0.png", (0, 0, 0), 0), "has 1 sub-folder with pictures"),
        (lambda f: picture(f / "0.png", (0, 0, 0), 0), "has 0 sub-folders with pictures"),
    ],
)
def test_a_folder_without_classes_is_refused(tmp_path: Path, make, said: str):
    make(tmp_path / "set")
    with pytest.raises(DataError) as caught:
        list_classes(tmp_path / "set")
    assert said.format(tmp_path / "set") in str(caught.value)


def test_nothing_but_broken_pictures_is_an_error_and_leaves_nothing(folder: Path, tmp_path: Path):
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(
        DataError, match="fewer than 2 classes have 1 image; .*not a readable picture"
    ):
        prepare_classes(list_classes(folder), tmp_path / "mine.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (Looks(7), "image_size=7: expected at least 8"),
        (Looks(513), "image_size=513: expected at most 512"),
        (Looks(colour=True, kind="drawings"), "colour=True: expected grey, or images"),
        (Looks(kind="photos"), "kind='photos': expected one of drawings, images"),
        (Looks(least=0), "least=0: expected at least 1"),
    ],
)
def test_looks_out_of_range_are_refused(folder: Path, tmp_path: Path, looks: Looks, said: str):
    with pytest.raises(DataError, match=said):
        prepare_classes(list_classes(folder), tmp_path / "mine.npy", looks)


def test_pictures_become_square_and_lose_nothing(tmp_path: Path):
    file = tmp_path / "wide.png"
    picture(file, (255, 0, 0), 0, (40, 20))
    seen = np.asarray(read_picture(file, kind="images").prepared("auto"))
    assert seen.shape == (40, 40, 3)
    assert (seen[:10] == 128).all() and (seen[30:] == 128).all()  # the border's colour
    np.testing.assert_array_equal(seen[10:30], np.asarray(Image.open(file)))
    with pytest.raises(DataError, match="too narrow"):
        picture(tmp_path / "line.png", (0, 0, 0), 0, (1, 200))
        read_picture(tmp_path / "line.png", kind="images")
    with pytest.raises(SettingsError, match="kind='all'"):
        read_picture(file, kind="all")


def test_an_interrupted_one_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, out = tmp_path / "whole.npy", tmp_path / "mine.npy"
    prepare_classes(list_classes(folder), whole)
    read, seen = Looks.read, []

    def stop(looks: Looks, file: Path):
        seen.append(file)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return read(looks, file)

    monkeypatch.setattr(Looks, "read", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare_classes(list_classes(folder), out)
    assert not out.exists()
    calls: list[int] = []
    prepare_classes(list_classes(folder), out, progress=lambda done, _: calls.append(done))
    assert len(seen) == 8 + sum(COUNTS.values()) - 6  # two classes were whole
    assert calls == [3, 6, 9, 13, 18, 24]
    assert out.read_bytes() == whole.read_bytes()


def test_a_changed_picture_or_another_size_begins_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, anew = tmp_path / "mine.npy", tmp_path / "anew.npy"
    read = Looks.read
    monkeypatch.setattr(Looks, "read", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare_classes(list_classes(folder), out)
    monkeypatch.setattr(Looks, "read", read)
    picture(folder / "1" / "0.png", (1, 2, 3), 5)
    prepare_classes(list_classes(folder), out)
    prepare_classes(list_classes(folder), anew)
    assert out.read_bytes() == anew.read_bytes()


def test_classes_and_groups_side_by_side_are_refused(grouped: Path):
    picture(grouped / "c" / "stray.png", (0, 0, 0), 0)
    with pytest.raises(DataError, match="'c' has pictures, and 'a' has folders of pictures"):
        list_classes(grouped)


def test_without_its_sidecar_a_colour_stack_is_not_read_as_grey(folder: Path, tmp_path: Path):
    prepare_classes(list_classes(folder), tmp_path / "mine.npy", Looks(colour=True))
    (tmp_path / "mine.json").unlink()
    stack = load_stack(tmp_path / "mine.npy")
    assert stack.channels == 3 and set(stack.images_per_class) == {1}


def test_pixels_of_16_bits_keep_their_greys(tmp_path: Path):
    for mode in ("I;16", "I;16B"):
        values = np.linspace(0, 30_000, 400).reshape(20, 20).astype(np.uint16)
        image = Image.frombytes(mode, (20, 20), values.astype(">u2" if "B" in mode else "<u2"))
        image.save(tmp_path / "deep.tif")
        seen = read_picture(tmp_path / "deep.tif", kind="images").prepared("auto")
        np.testing.assert_array_equal(np.asarray(seen), (values >> 8).astype(np.uint8))


ANOTHER = '{"recipe": "x", "done": [{"info": {"name": "a"}, "count": "x", "left": []}]}'


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"recipe": 1, "done": [1]}', '{"done": []}', ANOTHER]
)
def test_a_damaged_journal_begins_anew(folder: Path, tmp_path: Path, damage: str):
    out = tmp_path / "mine.npy"
    (tmp_path / ".mine.npy.part").write_bytes(b"x" * (HEADER + 10_000))
    (tmp_path / ".mine.npy.part.json").write_text(damage)
    prepare_classes(list_classes(folder), out)
    assert load_stack(out).images_per_class == (3, 3, 3, 4, 5, 6)


def test_two_at_once_are_refused(folder: Path, tmp_path: Path):
    with (
        StackWriter(tmp_path / "mine.npy", (1, 28, 28), "recipe"),
        pytest.raises(DataError, match="another process writes it now"),
    ):
        prepare_classes(list_classes(folder), tmp_path / "mine.npy")


STUCK = """
import sys, time
from pathlib import Path
from l2l_omniglot.data import class_folders, stack_writer
from l2l_omniglot.data.class_folders import Looks
read = Looks.read
def stick(looks, file):
    if file.parent.name == "ten":
        time.sleep(1e6)
    return read(looks, file)
Looks.read, stack_writer.SECONDS = stick, 0.0
class_folders.prepare_classes(class_folders.list_classes(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_killed_one_goes_on(folder: Path, tmp_path: Path):
    whole, out = tmp_path / "whole.npy", tmp_path / "mine.npy"
    killed = Started(["-c", STUCK, str(folder), str(out)])
    journal = tmp_path / ".mine.npy.part.json"
    while not (journal.exists() and len(json.loads(journal.read_text())["done"]) == 4):
        assert killed.poll() is None, killed.communicate(60)
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(60)
    assert killed.returncode == -signal.SIGKILL and not out.exists()
    for path in (out, whole):
        prepare_classes(list_classes(folder), path)
    assert out.read_bytes() == whole.read_bytes() and not journal.exists()


def test_the_command_says_what_it_wrote_and_left_out(folder: Path, tmp_path: Path):
    (folder / "two" / "7.png").write_bytes(b"no picture")
    words = ["prepare", "--classes", str(folder), "--out", str(tmp_path / "mine.npy")]
    done = invoke(*words, "--image-size", "84", "--colour")
    assert done.returncode == 9, done.stderr
    said = " ".join(done.stderr.split())
    assert "Error: skipped 1 of 25 pictures: " in said and "7.png: not a readable" in said
    assert "mine.npy: 6 classes of 3 to 6 images, 24 in all, 84 x 84, colour." in said
    assert "Note: too few for a training, which needs 2 images of each class" in said
    (folder / "two" / "7.png").unlink()
    done = invoke(*words, "--least", "4")
    assert done.returncode == 0
    assert "Note: left out: of 6 classes 3 have fewer than 4: 1, 2, 10." in done.stderr
    refused = invoke(*words[:3])
    assert refused.returncode == 2 and "--classes: expected --out" in refused.stderr
    refused = invoke(*words, "--source", "x")
    assert refused.returncode == 2 and "--classes: expected no --source" in refused.stderr


def test_the_training_that_it_names_is_possible(grouped: Path, tmp_path: Path):
    out = tmp_path / "mine.npy"
    done = invoke("prepare", "--classes", str(grouped), "--out", str(out))
    line = done.stderr.splitlines()[-1].split()
    task = ["--ways", "5", "--shots", "1", "--queries", "3"]
    assert line == ["l2l-omniglot", "train", *task, "--data", str(out), "--split", "groups"]
    sizes = ("--iterations", "1", "--meta-batch-size", "1", "--validation-tasks", "2")
    done = invoke(*line[1:], *sizes, "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr


def test_save_is_seldom(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved = []
    monkeypatch.setattr(stack_writer, "SECONDS", 0.0)
    monkeypatch.setattr(StackWriter, "_save", lambda writer: saved.append(len(writer.done)))
    class_folders.prepare_classes(list_classes(folder), tmp_path / "mine.npy")
    assert saved == [0, 1, 2, 3, 4, 5, 6]
