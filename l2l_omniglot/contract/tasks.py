"""Checks that a backbone adapts to tasks, and that nothing passes from one to the next."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.batch_norm import Norm, checked_forward
from l2l_omniglot.contract.candidate import INNER_LR, Candidate, check, images, some_task
from l2l_omniglot.contract.gradients import SOUND
from l2l_omniglot.contract.output import one_image, outputs
from l2l_omniglot.data.tasks import Task, TaskBatch
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.experiments.learners import read_weights, write_weights
from l2l_omniglot.meta.engines.fast_weights import inner_loop
from l2l_omniglot.meta.learner import Learner

STEPS = 2


@check("clone adapts", *SOUND, outputs)
def adapts(candidate: Candidate) -> None:
    """Access layers and parameters as self.name only.

    A list, a closure or a second reference keeps the original's when learn2learn clones the module.
    """
    # Checks that a clone steps as the gradient says, and then uses the adapted weights alone.
    learner = candidate.learner()
    batch = learner.batch([some_task()])
    network = candidate.network().eval()  # not a copy: that, too, would miss what a clone misses
    write_weights(network, read_weights(learner.backbone), "its weights")
    with learner.evaluating():
        weights = learner.reference.start(1, learner.loop(1))
        for _ in inner_loop(weights, batch.support, batch.support_labels):
            pass
        stepped = dict(weights.network.module.named_parameters())
        expected = _one_step(network, batch)
        for name, weight in expected.items():
            if not torch.allclose(stepped[name], weight, rtol=1e-4, atol=1e-5):
                raise BackboneError(
                    f"an inner step does not change {name!r} of its learn2learn clone as its "
                    "gradient says: the clone still uses the backbone's own"
                )
        with torch.no_grad():
            cloned = weights.logits(batch.query)[0]
            logits = checked_forward(network, batch.query[0])
    if not torch.allclose(cloned, logits, rtol=1e-3, atol=1e-4):
        raise BackboneError(
            "its learn2learn clone does not use the adapted weights alone: its logits are up to "
            f"{float((cloned - logits).abs().max()):.3g} from those of a copy that has them"
        )


def _one_step(network: nn.Module, batch: TaskBatch) -> dict[str, torch.Tensor]:
    """Takes a gradient step on the support set in place; returns all parameters."""
    named: dict[str, torch.Tensor] = dict(network.named_parameters())
    loss = cross_entropy(checked_forward(network, batch.support[0]), batch.support_labels[0])
    trained = [p for p in named.values() if p.requires_grad]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=INNER_LR)
    return named


@check("backbone untouched", *SOUND, outputs)
def untouched(candidate: Candidate) -> None:
    """Let forward write to no parameter or buffer of another module than self."""
    learner = candidate.learner()
    before = read_weights(learner.backbone)
    _use(learner, some_task())
    after = read_weights(learner.backbone)
    for name, tensor in before.items():
        if name not in after or not torch.equal(tensor, after[name]):
            raise BackboneError(f"adapting to a task changes {name!r} of the backbone itself")


@check("independent tasks", *SOUND, outputs)
def independent(candidate: Candidate) -> None:
    """Store nothing about a pass in attributes: no counts, averages or caches."""
    learner = candidate.learner()
    fresh = Learner(copy.deepcopy(learner.backbone), INNER_LR)
    _use(learner, some_task("before"))
    losses, alone = (_scores(each, some_task("after")) for each in (learner, fresh))
    if not torch.equal(losses, alone):
        raise BackboneError(
            "a task is scored differently after another task: query losses differ by up to "
            f"{float((losses - alone).abs().max()):.3g}"
        )


@check("independent training", *SOUND, outputs)
def trains_alike(candidate: Candidate) -> None:
    """Store nothing in self, its class or its module in training mode, either.

    Draw from torch's, NumPy's or Python's global generator only.
    """
    learner = candidate.learner()
    # Comes first, to detect state that all networks of a class or module share, too.
    alone = _gradients(Learner(copy.deepcopy(learner.backbone), INNER_LR), some_task("after"))
    _use(learner, some_task("before"))
    grads = _gradients(learner, some_task("after"))
    change = max(float((one - other).abs().max()) for one, other in zip(grads, alone, strict=True))
    if change:
        raise BackboneError(
            f"in training mode a task's meta-gradient differs by up to {change:.3g} when the same "
            "task comes again, after another"
        )


def _gradients(learner: Learner, task: Task) -> list[torch.Tensor]:
    """Computes a task's meta-gradient in training mode, always with the same random numbers."""
    with all_random("contract", "training"):
        result = learner.meta_gradient(learner.batch([task]), STEPS, first_order=True)
    return [gradient for gradient in result.gradients if gradient is not None]


def _use(learner: Learner, task: Task) -> None:
    """Evaluates and trains on a task."""
    _scores(learner, task)
    _gradients(learner, task)


def _scores(learner: Learner, task: Task) -> torch.Tensor:
    """Computes query losses after each step, (K + 1,)."""
    scores = learner.score_steps(learner.batch([task]), STEPS)
    return torch.cat([score.losses for (score,) in scores])


@check("buffers unchanged", *SOUND, outputs, required=False)
def buffers(candidate: Candidate) -> None:
    """Normalise by the batch: custom running averages are discarded after each task."""
    network = candidate.network()
    before = dict(read_weights(network))
    for training in (True, False):
        with torch.no_grad(), all_random("contract", "buffers"):
            checked_forward(network.train(training), images(10))
        after = dict(network.named_buffers())
        for name, buffer in after.items():
            if name not in before or not torch.equal(buffer, before[name]):
                raise BackboneError(f"its buffer {name!r} changes from one pass to the next")


@check("inductive", *SOUND, outputs, one_image, required=False)
def inductive(candidate: Candidate) -> str:
    """Mix images by nn.BatchNorm1d, 2d or 3d only; else only --batch-norm transductive works."""
    learner = candidate.learner()
    learner.check_inductive(some_task())
    layers = sum(isinstance(m, Norm) for m in learner.backbone.modules())
    return f"{layers} batch normalisation layers" if layers else "no image depends on another"


@check("stacked", *SOUND, outputs, required=False)
def stacks(candidate: Candidate) -> str:
    """Use nn.Linear, plain nn.Conv2d, nn.BatchNorm1d or 2d, and layers without batch effects.

    Otherwise it works, too, but task by task and about half as fast.
    """
    choice = candidate.learner().choose(some_task())
    if choice.engine.name != "stacked":
        raise BackboneError(choice.reason)
    return choice.reason
