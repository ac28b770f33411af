import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from l2l_omniglot._util.files import CACHE_VARIABLE
from l2l_omniglot.data import synthetic
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


@pytest.fixture
def anew() -> Iterator[Callable[[], None]]:
    """Forgets what this process has drawn."""
    synthetic._draw_all.cache_clear()
    yield synthetic._draw_all.cache_clear
    synthetic._draw_all.cache_clear()


def test_it_is_drawn_once_and_kept_in_the_cache_folder(
    anew: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    sizes = {"classes": 10, "drawers": 2}
    drawn = {seed: synthetic_stack(**sizes, seed=seed)._array for seed in (1, 2)}
    assert len(list(Path(os.environ[CACHE_VARIABLE]).iterdir())) == 1  # the last of these sizes
    monkeypatch.setattr(synthetic, "_draw", None)
    anew()
    assert np.array_equal(synthetic_stack(**sizes, seed=2)._array, drawn[2])
    for other in ({"seed": 1}, {"seed": 2, "image_size": 9}):
        with pytest.raises(TypeError, match="'NoneType' object is not callable"):
            synthetic_stack(**{**sizes, **other})


@pytest.mark.parametrize("package", ["numpy", "PIL"])
def test_other_versions_of_what_draws_draw_anew(
    package: str, anew: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    synthetic_stack(classes=10, drawers=2)
    monkeypatch.setattr(f"{package}.__version__", "0")
    monkeypatch.setattr(synthetic, "_draw", None)
    anew()
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        synthetic_stack(classes=10, drawers=2)


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
