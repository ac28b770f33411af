import random

import pytest
import torch

from l2l_omniglot import distortions
from l2l_omniglot.distortions import distort
from l2l_omniglot.experiment import Experiment
from l2l_omniglot.recipes import make_settings
from l2l_omniglot.stack import ImageStack
from l2l_omniglot.tasks import Tasks

LIMITS = {"TURN": 0.0, "STRETCH": 0.0, "SHEAR": 0.0, "SHIFT": 0.0}


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch):
    """Leaves one kind of distortion, of a given size; the others are switched off."""

    def leave(**kinds: float) -> None:
        for name, value in {**LIMITS, **kinds}.items():
            monkeypatch.setattr(distortions, name, value)

    return leave


def test_without_any_kind_images_stay_as_they_are(only):
    only()
    images = torch.rand(4, 3, 9, 12)
    for paper in (0.0, 1.0):
        torch.testing.assert_close(distort(images, paper), images, atol=1e-5, rtol=0)


def test_shifts_move_ink_and_bring_paper_in(only):
    only(SHIFT=0.5)
    random.seed(1)
    for paper in (0.0, 1.0):
        images = torch.full((50, 1, 16, 16), 1 - paper)  # all ink
        found = distort(images, paper)
        assert ((found - paper).abs().mean(dim=(1, 2, 3)) < 0.999).all()
        assert ((found >= 0) & (found <= 1)).all()
        corner = found[:, 0, ::15, ::15].flatten(1)  # every shift brings paper to some corner
        assert ((corner - paper).abs().amin(dim=1) < 0.6).float().mean() > 0.9


def test_a_turn_is_a_turn(only, monkeypatch: pytest.MonkeyPatch):
    only(TURN=torch.pi / 2)
    images = torch.rand(2, 1, 7, 7)

    def most(*size: int, generator: torch.Generator) -> torch.Tensor:
        assert generator
        return torch.ones(*size)

    monkeypatch.setattr(torch, "rand", most)
    turned = torch.rot90(images, 1, (2, 3))
    torch.testing.assert_close(distort(images, 0.0), turned, atol=1e-5, rtol=0)


def test_every_image_has_its_own_and_the_task_decides(stack: ImageStack):
    tasks = Tasks(stack, range(60), distortions=True)
    before = random.getstate(), torch.get_rng_state()
    first, again = tasks[3], tasks[3]
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert torch.equal(first.query, again.query)
    plain = Tasks(stack, range(60))[3]
    assert plain.classes == first.classes
    assert torch.equal(plain.query_labels, first.query_labels)
    assert all((a != b).any() for a, b in zip(plain.query, first.query, strict=True))
    same = torch.zeros(6, 1, 28, 28)
    same[:, :, 10:20, 10:20] = 1
    found = distort(same, 0.0)
    assert all((found[0] != other).any() for other in found[1:])


def test_in_training_only(stack: ImageStack):
    experiment = Experiment.build(make_settings(ways=3, backbone="fc"), stack)
    assert experiment.settings.distortions
    found = [experiment.tasks(part).distortions for part in ("train", "validation", "test")]
    assert found == [True, False, False]
    assert not make_settings("tutorial").distortions
    assert not make_settings("paper").distortions
