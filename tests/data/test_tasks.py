import copy
import hashlib
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Uneven

from l2l_omniglot.data.sidecar import ClassInfo
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import StackDataset, Tasks
from l2l_omniglot.errors import DataError
from l2l_omniglot.reports.contact_sheet import class_sheet


@pytest.fixture
def numbered() -> ImageStack:
    """30 classes of 20 images; pixel (0, 0) tells the class, pixel (0, 1) the image."""
    array = np.zeros((30, 20, 1, 4, 4), np.uint8)
    array[:, :, 0, 0, 0] = np.arange(30)[:, None] + 1
    array[:, :, 0, 0, 1] = np.arange(20)[None, :] + 101
    return ImageStack(array, background="black")


def read_back(images: torch.Tensor) -> list[tuple[int, int, int]]:
    """(class, image, quarter turns) of images from `numbered`."""
    found = []
    for image in (images[:, 0] * 255).round().int():
        for rotation in range(4):
            back = torch.rot90(image, -rotation)
            if back[0, 1] > 100:
                found.append((int(back[0, 0]) - 1, int(back[0, 1]) - 101, rotation))
                break
    return found


def test_sizes_and_labels(numbered: ImageStack):
    task = Tasks(numbered, range(30), ways=5, shots=2, queries=3)[0]
    assert task.support.shape == (10, 1, 4, 4)
    assert task.query.shape == (15, 1, 4, 4)
    assert task.support_labels.bincount().tolist() == [2] * 5
    assert task.query_labels.bincount().tolist() == [3] * 5
    assert task.support.dtype == torch.float32


def test_support_and_query_are_of_the_same_classes_and_share_no_image(numbered: ImageStack):
    classes = range(3, 20)
    for task in Tasks(numbered, classes, ways=5, shots=5, queries=15).batch(0, 50):
        support, query = read_back(task.support), read_back(task.query)
        assert not set(support) & set(query)
        assert len(set(support)) == 25 and len(set(query)) == 75
        for images, labels in ((support, task.support_labels), (query, task.query_labels)):
            for (number, _, rotation), label in zip(images, labels.tolist(), strict=True):
                assert task.classes[label] == number - 3
                assert rotation == 0
        assert {number for number, _, _ in support} <= set(classes)


def test_order_inside_support_and_query_is_shuffled(numbered: ImageStack):
    tasks = list(Tasks(numbered, range(30), ways=5, shots=2, queries=4).batch(0, 20))
    for part in ("support_labels", "query_labels"):
        assert any(sorted(getattr(t, part)) != getattr(t, part).tolist() for t in tasks)
    # RemapLabels shuffles too: the label says nothing about the class's place in the stack.
    assert any(list(t.classes) != sorted(t.classes) for t in tasks)


def test_all_classes_and_images_come_up(numbered: ImageStack):
    tasks = list(Tasks(numbered, range(30), queries=15).batch(0, 200))
    seen = [read_back(task.support) for task in tasks]
    assert {number for images in seen for number, _, _ in images} == set(range(30))
    assert {item for images in seen for _, item, _ in images} == set(range(20))


def test_each_class_has_a_rotation_of_its_own(numbered: ImageStack):
    """learn2learn's RandomClassRotation fails this: it rotates all classes of a task alike."""
    several = 0
    seen = set()
    for task in Tasks(numbered, range(30), shots=1, queries=3, rotations=True).batch(0, 100):
        rotations: dict[int, set[int]] = {}
        for images, labels in (
            (task.support, task.support_labels),
            (task.query, task.query_labels),
        ):
            for (_, _, rotation), label in zip(read_back(images), labels.tolist(), strict=True):
                rotations.setdefault(label, set()).add(rotation)
        assert all(len(found) == 1 for found in rotations.values())  # one rotation a class
        together = set().union(*rotations.values())
        seen |= together
        several += len(together) > 1
    assert seen == {0, 1, 2, 3}
    assert several > 90


ALPHABETS = ["A"] * 12 + ["B"] * 3 + ["C"] * 10 + [""] * 5


@pytest.fixture
def alphabets(numbered: ImageStack) -> ImageStack:
    """The same classes, of three alphabets or none."""
    named = copy.copy(numbered)
    named.info = tuple(ClassInfo(str(i), "background", name) for i, name in enumerate(ALPHABETS))
    return named


def test_tasks_within_an_alphabet(alphabets: ImageStack):
    tasks = Tasks(alphabets, range(30), queries=2, rotations=True, within_alphabet=True)
    seen = []
    for task in tasks.batch(0, 60):
        found = {ALPHABETS[tasks.dataset.describe(label)[0]] for label in task.classes}
        assert len(found) == 1
        seen.append(found.pop())
    assert 15 < seen.count("A") < 45  # as likely as C, though larger
    assert seen.count("B") == 0  # 3 characters, though 12 classes in 4 rotations
    plain = Tasks(alphabets, range(30), queries=2, within_alphabet=True)
    assert {ALPHABETS[task.classes[0]] for task in plain.batch(0, 40)} == {"A", "C"}
    with pytest.raises(DataError, match="3 known alphabets, of at most 12 classes; 13-way"):
        Tasks(alphabets, range(30), ways=13, queries=2, within_alphabet=True)


def test_mirrored_classes(numbered: ImageStack):
    plain = StackDataset(numbered, [7, 9])
    for rotations, transforms in ((False, (0, 4)), (True, range(8))):
        dataset = StackDataset(numbered, [7, 9], rotations=rotations, mirrors=True)
        assert len(dataset) == len(transforms) * 2 * 20
        for number, transform in enumerate(transforms):
            label = 2 * number + 1
            assert dataset.describe(label) == (9, transform)
            expected = torch.flip(plain[20][0], (-1,)) if transform >= 4 else plain[20][0]
            expected = torch.rot90(expected, transform % 4, (-2, -1))
            assert torch.equal(dataset[20 * label][0], expected)


def test_dataset_is_an_ordinary_torch_dataset(numbered: ImageStack):
    dataset = StackDataset(numbered, [7, 9], rotations=True)
    assert len(dataset) == 4 * 2 * 20
    image, label = dataset[20 * 3 + 4]  # label 3: rotation 1 of position 1
    assert (label, dataset.describe(label)) == (3, (9, 1))
    assert read_back(image[None]) == [(9, 4, 1)]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def digest(tasks: Tasks, number: int) -> float:
    weights = torch.arange(1.0, tasks[number].query.numel() + 1).reshape(tasks[number].query.shape)
    return float((tasks[number].query * weights).double().sum())


def test_task_number_i_is_the_same_whatever_came_before(stack: ImageStack):
    one, two = (Tasks(stack, range(60), seed=3) for _ in range(2))
    list(two.batch(0, 17))
    random.seed(99)
    for a, b in zip(one[40][:4], two[40][:4], strict=True):
        assert torch.equal(a, b)
    assert one[40].classes == two[40].classes
    assert not torch.equal(one[40].query, one[41].query)


def test_streams_of_other_seeds_and_names_differ(stack: ImageStack):
    base = Tasks(stack, range(60), seed=0, name="train")[5]
    for other in (Tasks(stack, range(60), seed=1), Tasks(stack, range(60), name="test")):
        assert other[5].classes != base.classes


STREAMS = [
    ({}, "847ab91be6a80c90"),
    ({"rotations": True, "seed": 3, "name": "validation"}, "600ec07107ee0ac6"),
    ({"rotations": True, "mirrors": True, "ways": 20, "shots": 5, "queries": 5},
     "f5b6fe2afab0915c"),
    ({"mirrors": True, "queries": 2, "name": "test"}, "b883d84852755b1f"),
    ({"within_alphabet": True, "rotations": True, "queries": 2}, "becdf912dd4e547c"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "known"), STREAMS)
def test_the_first_100_tasks_are_those_that_figures_were_measured_on(
    alphabets: ImageStack, options: dict[str, Any], known: str
):
    found = hashlib.sha256()
    for task in Tasks(alphabets, range(30), **options).batch(0, 100):
        for tensor in task[:4]:
            found.update(tensor.numpy().tobytes())
        found.update(repr(task.classes).encode())
    assert found.hexdigest()[:16] == known


@pytest.mark.parametrize("options", [{}, {"rotations": True}, {"within_alphabet": True}])
def test_classes_of_unequal_size_make_tasks_and_sheets(alphabets: ImageStack, options):
    stack = Uneven(alphabets)
    tasks = Tasks(stack, range(30), ways=5, shots=1, queries=3, **options)
    transforms = 4 if "rotations" in options else 1
    assert len(tasks.dataset) == transforms * sum(stack.images_per_class)
    seen: dict[int, set[int]] = {}
    for number, task in enumerate(tasks.batch(0, 300)):
        assert torch.equal(task.support, tasks[number].support)
        images = torch.cat([task.support, task.query])
        labels = torch.cat([task.support_labels, task.query_labels]).tolist()
        shown = read_back(images)
        assert len(set(shown)) == 20
        for (character, item, rotation), label in zip(shown, labels, strict=True):
            assert tasks.dataset.describe(task.classes[label]) == (character, rotation)
            seen.setdefault(character, set()).add(item)
    assert all(found <= set(range(stack.images_per_class[c])) for c, found in seen.items())
    assert seen[0] == set(range(4))  # small classes entirely, large ones beyond that
    assert max(seen[11]) > 10
    for label in (0, 17, len(tasks.dataset.labels) - 1):
        indices = tasks.dataset.indices_of(label)
        assert len(indices) == stack.images_per_class[label % 30]
        assert {tasks.dataset.label_of(index) for index in indices} == {label}
    sheet = class_sheet(stack, [0, 16], 9, "two classes")
    assert [len(row.groups[0]) for row in sheet.rows] == [4, 9]


def test_the_smallest_class_must_have_enough_images(alphabets: ImageStack):
    stack = Uneven(alphabets)
    Tasks(stack, range(12, 17), shots=1, queries=15)
    with pytest.raises(
        DataError, match="15 to 20 images per class, fewest in .*; 1 shots and 15 queries"
    ):
        Tasks(stack, range(11, 17), shots=1, queries=15)


@pytest.mark.slow
def test_task_is_the_same_in_another_process(stack: ImageStack):
    code = (
        "import sys; sys.path[:0] = sys.argv[1:];"
        "from test_tasks import digest;"
        "from l2l_omniglot import Tasks, synthetic_stack;"
        "print(repr(digest(Tasks(synthetic_stack(classes=60), range(60), seed=3), 40)))"
    )
    folders = [
        str(folder) for folder in list(Path(__file__).parents)[:2]
    ]  # this one, and that of what tests share
    found = {
        subprocess.run(
            [sys.executable, "-c", code, *folders],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {repr(digest(Tasks(stack, range(60), seed=3), 40))}


def test_global_random_state_is_left_alone(stack: ImageStack):
    def state():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = state()
    Tasks(stack, range(60))[0]
    assert state() == before


def test_too_little_data_for_the_task(numbered: ImageStack):
    for sizes, said in (
        ({"ways": 31}, "has 30 classes; 31-way tasks need at least 31"),
        ({"shots": 6}, "20 images per class; 6 shots and 15 queries need at least 21"),
        ({"ways": 1}, "ways=1: expected at least 2"),
        ({"shots": 0}, "shots=0: expected at least 1"),
        ({"queries": 0}, "queries=0: expected at least 1"),
    ):
        with pytest.raises(DataError, match=said):
            Tasks(numbered, range(30), **sizes)
    with pytest.raises(IndexError, match="task -1"):
        Tasks(numbered, range(30))[-1]
    oblong = ImageStack(np.zeros((6, 20, 4, 6)))
    with pytest.raises(DataError, match="4x6 pixels cannot be rotated"):
        Tasks(oblong, range(6), rotations=True)


def test_no_deprecation_warning_from_learn2learn(numbered: ImageStack):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Tasks(numbered, range(30))[0]
    assert [str(w.message) for w in caught] == []


def test_each_class_of_a_task_is_rotated_on_its_own(numbered: ImageStack):
    """The tests of Finn et al. 2017: different characters, each with one random rotation."""
    plain, rotated = (Tasks(numbered, range(30), queries=3, rotate_each=on) for on in (False, True))
    seen = set()
    for one, other in zip(plain.batch(0, 40), rotated.batch(0, 40), strict=True):
        described = [rotated.dataset.describe(label) for label in other.classes]
        assert sorted(number for number, _ in described) == sorted(one.classes)
        for images, labels in (
            (other.support, other.support_labels), (other.query, other.query_labels),
        ):  # fmt: skip
            for (number, _, rotation), label in zip(
                read_back(images), labels.tolist(), strict=True
            ):
                assert (number, rotation) == described[label]
        seen |= {rotation for _, rotation in described}
    assert seen == {0, 1, 2, 3}
