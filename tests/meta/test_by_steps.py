"""The meta-gradient that takes each step again is the one that keeps them all."""

from typing import Any

import numpy as np
import pytest
import torch
from strangers import some_backbone
from torch import nn

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.learners import build_learner
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.meta.by_steps import maml_by_steps
from l2l_omniglot.meta.learner import Learner

KINDS: dict[str, dict[str, Any]] = {
    "trained head": {},
    "shared head": {"head": "shared"},
    "prototypes": {"head": "prototypes"},
    "anil": {"adapt": "head"},
    "meta-sgd": {"rates": "parameter", "head": "zero"},
    "maml++": {"rates": "layer-step", "norm_weights": "per-step", "inner_steps": 3},
    "support statistics": {"train_statistics": "support"},
    "first order": {"first_order": True},
    "batches": {"inner_batch": 2},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize("shares", [(0.0, 0.0, 0.0, 1.0), (0.1, 0.0, 0.3, 0.6)])
def test_it_is_the_meta_gradient(
    stack: ImageStack, kind: str, engine: str, shares: tuple[float, ...]
):
    drawn = list(Tasks(stack, range(60), queries=3).batch(0, 2))
    found = []
    for rule in ("maml", maml_by_steps):
        torch.manual_seed(0)
        backbone = some_backbone("basenet").double()
        learner = Learner(backbone, 0.1, engine=engine, rule=rule, **KINDS[kind])
        choice = learner.choose(drawn[0]).engine
        tasks = [drawn] if engine == "stacked" else [[task] for task in drawn]
        parts = [learner.meta_gradient(learner.batch(t), 3, choice, None, shares) for t in tasks]
        found.append(parts)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.scores.predictions, other.scores.predictions)
        torch.testing.assert_close(one.scores.losses, other.scores.losses)
        for expected, gradient in zip(one.gradients, other.gradients, strict=True):
            assert (expected is None) == (gradient is None)
            if expected is not None:
                torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=1e-7)


def test_dropout_is_refused(stack: ImageStack):
    """Another draw would make other weights of a step than those that were kept."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 5))
    learner = Learner(network, 0.1, rule=maml_by_steps)
    task = learner.batch([Tasks(stack, range(60), queries=3)[0]])
    with pytest.raises(BackboneError, match="draws random numbers, as dropout does"):
        learner.meta_gradient(task, 2)


class Jitter(nn.Module):
    """Draws from NumPy's global generator, as a few backbones do."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * (1 + 0.1 * float(np.random.rand()))


def test_other_generators_are_watched_too(stack: ImageStack):
    network = nn.Sequential(nn.Flatten(), Jitter(), nn.Linear(784, 5))
    learner = Learner(network, 0.1, rule=maml_by_steps)
    task = learner.batch([Tasks(stack, range(60), queries=3)[0]])
    with all_random("jitter"), pytest.raises(BackboneError, match="draws random numbers"):
        learner.meta_gradient(task, 2)


def test_a_proximal_term_is_refused(stack: ImageStack):
    learner = Learner(some_backbone("fc"), 0.1, rule=maml_by_steps, proximal=2.0)
    task = learner.batch([Tasks(stack, range(60), queries=3)[0]])
    with pytest.raises(SettingsError, match=r"proximal=2.0: expected 0 where steps are taken"):
        learner.meta_gradient(task, 2)


def test_the_setting_is_for_maml():
    assert build_learner(make_settings(checkpoint_steps=True), 1, 28).rule is maml_by_steps
    with pytest.raises(SettingsError, match="checkpoint_steps=True: expected rule 'maml'"):
        make_settings(checkpoint_steps=True, algorithm="reptile")
