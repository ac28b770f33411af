"""Rules: how T tasks make a meta-gradient. Adam, or whatever follows, does not see which it was.

A rule is all that an algorithm such as Reptile or iMAML adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

from l2l_omniglot.backbones.batch_norm import BY_BATCH, Policy
from l2l_omniglot.data.tasks import TaskBatch
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.fast_weights import FastWeights, inner_loop, task_losses

if TYPE_CHECKING:
    from torch import nn


class Scores(NamedTuple):
    """Losses, accuracies and predictions on the query sets of T tasks.

    Attributes:
        losses: (T,), each task's mean cross-entropy in nats.
        accuracies: float64 (T,) on the CPU, fractions of query images classified correctly.
        predictions: int64 (T, queries of a task), the label predicted for each query image.
    """

    losses: torch.Tensor
    accuracies: torch.Tensor
    predictions: torch.Tensor


class MetaGradient(NamedTuple):
    """The contribution of T tasks to the meta-gradient.

    Attributes:
        scores: of the query sets after the last step, without a graph.
        gradients: summed over the tasks, one for each of the learner's `trained` parameters, of
            its shape; None if nothing depends on it.
    """

    scores: Scores
    gradients: tuple[torch.Tensor | None, ...]


# From weights before the first step, tasks, the learner's trained parameters, and K + 1 shares of
# the query losses after 0, 1, ..., K steps.
Rule: TypeAlias = Callable[
    [FastWeights, TaskBatch, "Sequence[nn.Parameter]", Sequence[float]], MetaGradient
]


def score(weights: FastWeights, tasks: TaskBatch, policy: Policy = BY_BATCH) -> Scores:
    """Scores T networks on the query sets of T tasks; see `Learner.score_steps`.

    Raises:
        BackboneError: if the backbone's ways are not the tasks'.
    """
    moments = policy.for_query(weights.taken, lambda: weights.record(tasks.support))
    logits = weights.logits(tasks.query, moments)
    if logits.shape[2] != tasks.ways:
        raise BackboneError(f"the backbone has {logits.shape[2]} ways; the task has {tasks.ways}")
    predictions = logits.argmax(dim=2)
    correct = (predictions == tasks.query_labels).sum(dim=1)
    accuracies = correct.to("cpu", torch.float64) / logits.shape[1]
    return Scores(task_losses(logits, tasks.query_labels), accuracies, predictions)


def maml(
    weights: FastWeights,
    tasks: TaskBatch,
    parameters: Sequence[nn.Parameter],
    shares: Sequence[float],
) -> MetaGradient:
    """Differentiates query losses through the inner steps, or in first order past them.

    Raises:
        BackboneError: if the losses do not depend on any parameter.
    """
    counted = []
    adapting = inner_loop(weights, tasks.support, tasks.support_labels)
    for share, adapted in zip(shares, adapting, strict=True):
        if share:
            result = score(adapted, tasks, weights.inner.policy)
            counted.append(share * result.losses)
    return MetaGradient(
        result._replace(losses=result.losses.detach()),
        differentiate(torch.stack(counted).sum(), parameters),
    )


def check_plain(name: str, weights: FastWeights) -> None:
    """Refuses what a rule cannot train that knows only where the inner loop begins and ends.

    Raises:
        BackboneError: if something is trained that is neither.
    """
    engine = weights.engine
    rates = engine.rates
    if engine.head.embeds or engine.norms.names or rates.learned or rates.adapt != "all":
        raise BackboneError(
            f"{name} trains what the inner loop changes: expected a head that is not "
            "computed from prototypes, and all parameters, norm weights too, adapted by fixed rates"
        )


def starts_and_ends(
    weights: FastWeights, tasks: TaskBatch
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Takes the inner steps, and returns the adapted tensors before and after them.

    Each has a leading T, and the graph that leads to the learner's parameters; both lists are in
    the order of `rates.names`.
    """
    starts: dict[str, torch.Tensor] = {}
    for adapted in inner_loop(weights, tasks.support, tasks.support_labels):
        starts = starts or adapted.named()
    ends, names = weights.named(), weights.engine.rates.names
    return [starts[name] for name in names], [ends[name] for name in names]


def pull_back(
    starts: Sequence[torch.Tensor], ways: Sequence[torch.Tensor], parameters: Sequence[nn.Parameter]
) -> tuple[torch.Tensor | None, ...]:
    """Passes gradients by the weights that T tasks start with on to what these were made from.

    Args:
        starts: each with a leading T, and the graph that leads to the parameters.
        ways: the gradients, of the same shapes.
        parameters: the learner's.
    """
    return torch.autograd.grad(starts, parameters, ways, allow_unused=True)


def differentiate(
    loss: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> tuple[torch.Tensor | None, ...]:
    """Differentiates by each parameter; None where the loss does not depend on it.

    Raises:
        BackboneError: if the loss does not depend on any.
    """
    try:
        return torch.autograd.grad(loss, parameters, allow_unused=True)
    except (RuntimeError, ValueError) as error:
        raise BackboneError(f"the query loss has no gradient: {error}") from error
