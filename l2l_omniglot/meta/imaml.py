"""iMAML: the implicit meta-gradient (Rajeswaran et al. 2019, "Meta-learning with implicit ...").

The inner loop approaches the minimum of the support loss plus lambda / 2 times the squared distance
to where it began. There, the meta-gradient depends on the minimum alone, not on the way to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from l2l_omniglot.data.tasks import TaskBatch
from l2l_omniglot.errors import check_number, refused
from l2l_omniglot.meta.engines.fast_weights import FastWeights, task_losses
from l2l_omniglot.meta.rules import MetaGradient, check_plain, pull_back, score, starts_and_ends

ITERATIONS, TOLERANCE = 5, 0.01  # of conjugate gradients: as in the paper; of what is left of g


def imaml(
    weights: FastWeights,
    tasks: TaskBatch,
    parameters: Sequence[nn.Parameter],
    shares: Sequence[float],  # noqa: ARG001 - only the last step's loss has an implicit gradient
    damping: float = 0.0,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> MetaGradient:
    """Solves (I + H / lambda) x = g for each task (equation 6 and algorithm 2).

    g is the gradient of the query loss at the adapted weights, H the Hessian of the support loss
    there; learned inner rates have no such gradient. `damping` is added to lambda here alone, as
    in the authors' code: it keeps x near g where H has large or negative curvatures.

    Raises:
        BackboneError: if the inner loop does not start at the trained weights and change all.
        SettingsError: if it has no proximal term, or does not descend one loss.
    """
    check_plain("iMAML", weights)
    check_loop(weights.inner.proximal, weights.inner.batch)
    starts, ends = starts_and_ends(weights, tasks)
    leaves = [end.detach().requires_grad_() for end in ends]
    weights.replace(dict(zip(weights.engine.rates.names, leaves, strict=True)))
    scores = score(weights, tasks, weights.inner.policy)
    wanted = _flat(_gradients(scores.losses.sum(), leaves))
    product = _hessian_product(weights, tasks, leaves)
    pull = weights.inner.proximal + damping
    solved = solve(lambda rows: rows + product(rows) / pull, wanted, iterations, tolerance)
    gradients = pull_back(starts, _like(solved, leaves), parameters)
    return MetaGradient(scores._replace(losses=scores.losses.detach()), gradients)


def check_loop(proximal: float, batch: int) -> None:
    """Refuses inner loops that approach no minimum which is near where they started.

    Raises:
        SettingsError: if lambda is not above 0, or each step sees other images.
    """
    check_number("proximal", proximal, above=0)
    if batch:
        raise refused("inner_batch", batch, "expected all support images for imaml")


def solve(
    product: Callable[[torch.Tensor], torch.Tensor],
    wanted: torch.Tensor,
    iterations: int,
    tolerance: float = 0.0,
) -> torch.Tensor:
    """Solves A x = b for T symmetric A by conjugate gradients (Hestenes and Stiefel 1952).

    Where an A has no positive curvature along its way, its x stays as it is.

    Args:
        product: from T vectors (T, N) to A times each.
        wanted: b, (T, N).
        iterations: at most N are of use.
        tolerance: ends where |b - A x| is not above so much of |b|, of every x.
    """
    solution, rest, way = torch.zeros_like(wanted), wanted, wanted
    length = _dots(rest, rest)
    enough = tolerance**2 * length
    for _ in range(iterations):
        if bool((length <= enough).all()):
            break
        image = product(way)
        curvature = _dots(way, image)
        step = torch.where(curvature > 0, length / curvature, 0)
        solution, rest = solution + step * way, rest - step * image
        before, length = length, _dots(rest, rest)
        way = rest + torch.where(before > 0, length / before, 0) * way
    return solution


def _hessian_product(
    weights: FastWeights, tasks: TaskBatch, leaves: Sequence[torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns what multiplies T vectors (T, N) by the Hessians of T support losses."""
    moments = weights.inner.policy.for_support(weights.taken)
    losses = task_losses(weights.logits(tasks.support, moments), tasks.support_labels)
    gradients = _flat(_gradients(losses.sum(), leaves, create_graph=True))

    def product(rows: torch.Tensor) -> torch.Tensor:
        return _flat(_gradients((gradients * rows).sum(), leaves))

    return product


def _gradients(
    value: torch.Tensor, leaves: Sequence[torch.Tensor], create_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """Differentiates by each of the tensors; zeros where the value does not depend on it."""
    return torch.autograd.grad(
        value, leaves, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )


def _flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Joins tensors of a leading T as (T, N)."""
    return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)


def _like(rows: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Inverts `_flat`, for tensors of these shapes."""
    parts = rows.split([tensor[0].numel() for tensor in tensors], dim=1)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _dots(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Multiplies T pairs of vectors, (T, N) each: (T, 1)."""
    return (one * other).sum(dim=1, keepdim=True)
