"""MAML's meta-gradient back from step to step, in the memory of one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from l2l_omniglot._util.rng import random_states
from l2l_omniglot.data.tasks import TaskBatch
from l2l_omniglot.errors import BackboneError, refused
from l2l_omniglot.meta.engines.fast_weights import FastWeights, in_turn, inner_loop, task_losses
from l2l_omniglot.meta.rules import MetaGradient, differentiate, maml, score


def maml_by_steps(
    weights: FastWeights,
    tasks: TaskBatch,
    parameters: Sequence[nn.Parameter],
    shares: Sequence[float],
) -> MetaGradient:
    """Computes what `maml` does, but takes each inner step again on the way back.

    Kept are the weights after each step, and what one step needs to be differentiated (Chen et al.
    2016, "Training deep nets with sublinear memory cost").

    Raises:
        BackboneError: if the losses do not depend on any parameter, or the backbone draws random
            numbers.
        SettingsError: if the inner loop has a proximal term.
    """
    if weights.inner.first_order:  # nothing of a step is kept there
        return maml(weights, tasks, parameters, shares)
    if weights.inner.proximal:
        raise refused("proximal", weights.inner.proximal, "expected 0 where steps are taken again")
    drawn = random_states()
    passed = _weights_before_steps(weights, tasks)
    if random_states() != drawn:
        raise BackboneError("it draws random numbers, as dropout does: a step taken again differs")
    sums: list[torch.Tensor | None] = [None] * len(parameters)
    scores, later = [], None
    for step in range(weights.inner.steps, -1, -1):
        before = passed[step - 1] if step else {}
        now = _taken_again(weights, tasks, step, before)
        losses = [] if later is None else [_products(list(now.named().values()), later)]
        if shares[step]:
            scores.append(score(now, tasks, weights.inner.policy))
            losses.append(shares[step] * scores[-1].losses.sum())
        leaves = list(before.values())
        gradients = differentiate(torch.stack(losses).sum(), [*leaves, *parameters])
        later = gradients[: len(leaves)]
        sums = [_sum(one, other) for one, other in zip(sums, gradients[len(leaves) :], strict=True)]
    return MetaGradient(scores[0]._replace(losses=scores[0].losses.detach()), tuple(sums))


def _weights_before_steps(weights: FastWeights, tasks: TaskBatch) -> list[dict[str, torch.Tensor]]:
    """Returns what each of the K steps starts from, by name, each with a leading T."""
    inner = dataclasses.replace(weights.inner, first_order=True)
    forward = weights.engine.start(weights.tasks, inner)
    loop = inner_loop(forward, tasks.support, tasks.support_labels)
    return [
        {name: weight.detach().requires_grad_() for name, weight in adapted.named().items()}
        for _, adapted in zip(range(inner.steps), loop, strict=False)
    ]


def _taken_again(
    weights: FastWeights, tasks: TaskBatch, step: int, before: Mapping[str, torch.Tensor]
) -> FastWeights:
    """Returns the weights after so many steps, computed from those one step before."""
    now = weights.engine.start(weights.tasks, weights.inner)
    if not step:
        return next(inner_loop(now, tasks.support, tasks.support_labels))
    now.replace(before)
    now.taken = step - 1
    moments = weights.inner.policy.for_support(now.taken)
    images, labels = in_turn(tasks.support, tasks.support_labels, now.taken, now.inner.batch)
    now.step(task_losses(now.logits(images, moments), labels))
    return now


def _products(
    after: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """Returns what has these gradients by the weights after a step."""
    pairs = zip(after, gradients, strict=True)
    return torch.stack([(weight * way).sum() for weight, way in pairs if way is not None]).sum()


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    return other if one is None else one if other is None else one + other
