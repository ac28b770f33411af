import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from l2l_omniglot.data.splits import make_splits
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import DataError

FORTY = "d143c287855d"  # SHA-256 of the images of 40 characters


def test_same_seed_same_characters():
    first, again, other = (synthetic_stack(classes=12, seed=seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256


def test_they_are_the_same_on_every_machine():
    assert synthetic_stack(classes=40).sha256.startswith(FORTY)


@pytest.mark.slow
def test_they_do_not_depend_on_the_last_bits_of_a_processors_sums():
    """Without fused multiplication and addition, as on processors that OpenBLAS does not know."""
    ask = "from l2l_omniglot.data.synthetic import *; print(synthetic_stack(classes=40).sha256)"
    plain = {"OPENBLAS_CORETYPE": "Prescott", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2"}
    command = [sys.executable, "-c", ask]
    found = subprocess.check_output(command, env=os.environ | plain, text=True, timeout=60)
    assert found.startswith(FORTY)


def test_a_character_does_not_depend_on_how_many_there_are():
    few, many = synthetic_stack(classes=12), synthetic_stack(classes=30)
    assert np.array_equal(few._array, many._array[:12])


def test_shape_names_and_range():
    stack = synthetic_stack(classes=45, drawers=7, image_size=20)
    images = stack.images(range(45), [0] * 45)
    assert images.shape == (45, 1, 20, 20)
    assert (images.min(), images.max()) == (0, 1)
    assert (images.flatten(1).max(1).values > 0.5).all()  # every drawing has ink
    assert set(stack.images_per_class) == {7}
    assert stack.names[0] == "background/Invented_01/character01"
    assert stack.names[-1] == "evaluation/Invented_03/character05"


def test_all_named_splits_work_on_it():
    info = synthetic_stack(classes=400, drawers=2, image_size=8).info
    for split in ("tutorial", "random", "alphabets"):
        assert min(len(part) for part in make_splits(info, split)) >= 20


def test_pixels_are_a_poor_guide(stack):
    """Nearest neighbour on pixels, 5-way 1-shot: far from what a trained MAML gets (README)."""
    right = []
    for task in Tasks(stack, range(60)).batch(0, 100):
        distances = torch.cdist(task.query.flatten(1), task.support.flatten(1))
        guess = task.support_labels[distances.argmin(1)]
        right.append((guess == task.query_labels).float().mean().item())
    assert 0.25 < np.mean(right) < 0.5


def test_too_small():
    for argument, value in (("classes", 9), ("drawers", 1), ("image_size", 7)):
        with pytest.raises(DataError, match=f"{argument}={value}: expected at least"):
            synthetic_stack(**{argument: value})
