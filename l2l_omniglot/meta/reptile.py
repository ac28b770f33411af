"""Reptile: towards the adapted weights (Nichol et al. 2018, "On first-order meta-learning")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from l2l_omniglot.data.tasks import TaskBatch
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.fast_weights import FastWeights, inner_loop
from l2l_omniglot.meta.rules import MetaGradient, score


def reptile(
    weights: FastWeights,
    tasks: TaskBatch,
    parameters: Sequence[nn.Parameter],
    shares: Sequence[float],  # noqa: ARG001 - has no query loss
) -> MetaGradient:
    """Returns the way back from the weights after K steps to those before, in inner rates."""
    engine = weights.engine
    if engine.head.computed or engine.rates.learned:
        raise BackboneError("Reptile trains what the inner loop changes: a trained head, one rate")
    before = {name: weight.detach() for name, weight in weights.named().items()}
    for adapted in inner_loop(weights, tasks.support, tasks.support_labels):
        after = {name: weight.detach() for name, weight in adapted.named().items()}
    with torch.no_grad():
        scores = score(adapted, tasks, weights.inner.policy)
    named = {id(p): name for name, p in engine.backbone.named_parameters()}
    ways = ((before[n] - after[n]).sum(dim=0) / engine.rates.initial
            for n in (named[id(p)] for p in parameters))  # fmt: skip
    return MetaGradient(scores, tuple(ways))
