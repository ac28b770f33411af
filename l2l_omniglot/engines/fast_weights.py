"""Fast weights: a backbone's weights while they adapt to tasks, and the one inner loop on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch.nn.functional import cross_entropy

from l2l_omniglot.errors import BackboneError


class FastWeights(Protocol):
    """A backbone's weights, one copy for each of T tasks."""

    def logits(
        self, images: torch.Tensor, statistics_of: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Each task's images (T, B, channels, H, W) through its own copy: (T, B, ways).

        All images of a task are one batch to batch normalisation; or it goes by the statistics
        of other images of the task, (T, B', channels, H, W), and no image sees another.

        Raises:
            BackboneError: if the backbone fails, or returns another shape.
        """

    def step(self, losses: torch.Tensor) -> None:
        """One gradient step of every copy on its own task's loss (T,).

        Raises:
            BackboneError: if the losses do not depend on the weights.
        """

    def add_loss(self, losses: torch.Tensor) -> None:
        """Adds losses (T,) of the weights as they are now to what `meta_gradient` is of.

        Raises:
            BackboneError: if the losses do not depend on any parameter.
        """

    def meta_gradient(self) -> tuple[torch.Tensor | None, ...]:
        """Gradient of the sum of all losses added, for each parameter that is trained.

        Those of the backbone, then of the inner rates; through the steps, or in first order
        past them. None for parameters that play no part.

        Raises:
            BackboneError: if the losses do not depend on any parameter.
        """


def inner_loop(
    weights: FastWeights, support: torch.Tensor, support_labels: torch.Tensor, steps: int
) -> Iterator[FastWeights]:
    """Gradient steps on the support sets (Finn et al. 2017, algorithm 1, lines 5 to 7).

    Args:
        weights: as the backbone has them.
        support: images (T, ways * shots, channels, H, W) in [0, 1].
        support_labels: int64 (T, ways * shots) in [0, ways).
        steps: gradient steps K, 0 or more.

    Yields:
        The weights after 0, 1, ..., K steps: each time the same object.
    """
    yield weights
    for _ in range(steps):
        weights.step(task_losses(weights.logits(support), support_labels))
        yield weights


def task_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of each task in nats: (T, B, ways) and (T, B) to (T,).

    Raises:
        BackboneError: if a label is beyond the backbone's ways.
    """
    try:
        losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    except IndexError as error:
        raise BackboneError(
            f"the backbone has {logits.shape[2]} ways; the task has {int(labels.max()) + 1}"
        ) from error
    return losses.view(labels.shape).mean(dim=1)
