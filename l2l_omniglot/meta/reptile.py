"""Reptile: towards the adapted weights (Nichol et al. 2018, "On first-order meta-learning")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from l2l_omniglot.data.tasks import TaskBatch
from l2l_omniglot.meta.engines.fast_weights import FastWeights
from l2l_omniglot.meta.rules import MetaGradient, check_plain, pull_back, score, starts_and_ends


def reptile(
    weights: FastWeights,
    tasks: TaskBatch,
    parameters: Sequence[nn.Parameter],
    shares: Sequence[float],  # noqa: ARG001 - has no query loss
) -> MetaGradient:
    """Returns the way back from the weights after K steps to those before (algorithm 2).

    Gradient descent of step size epsilon along it is the paper's update.

    Raises:
        BackboneError: if the inner loop does not start at the trained weights and change all.
    """
    check_plain("Reptile", weights)
    starts, ends = starts_and_ends(weights, tasks)
    with torch.no_grad():
        scores = score(weights, tasks, weights.inner.policy)
    ways = [(start - end).detach() for start, end in zip(starts, ends, strict=True)]
    return MetaGradient(scores, pull_back(starts, ways, parameters))
