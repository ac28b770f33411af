"""Fast weights: a backbone's weights while they adapt to tasks, and the one inner loop on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch.nn.functional import cross_entropy

from l2l_omniglot.backbones.batch_norm import BatchMoments
from l2l_omniglot.backbones.heads import TrainedHead
from l2l_omniglot.errors import BackboneError


class FastWeights(Protocol):
    """A backbone's weights, one copy for each of T tasks.

    Attributes:
        head: how each task's head starts.
    """

    head: TrainedHead

    def logits(self, images: torch.Tensor, moments: BatchMoments | None = None) -> torch.Tensor:
        """Each task's images (T, B, channels, H, W) through its own copy: (T, B, ways).

        All images of a task are one batch to batch normalisation; or it goes by given moments,
        of T tasks or of 1 for all, and no image sees another.

        Raises:
            BackboneError: if the backbone fails, or returns another shape.
        """

    def record(self, images: torch.Tensor) -> BatchMoments:
        """The moments that each task's images (T, B, channels, H, W) have as one batch.

        They are those of the weights as they are now, and lead back to them.

        Raises:
            BackboneError: as `logits`, or if a layer cannot be told what to normalise by.
        """

    def embeddings(self, images: torch.Tensor, moments: BatchMoments | None = None) -> torch.Tensor:
        """What the head is given, (T, B, features); see `logits`.

        Raises:
            BackboneError: as `logits`, or if the head is not used exactly once a pass.
        """

    def head_parameters(self) -> dict[str, torch.Tensor]:
        """The head's parameters as they are now, by name, each with a leading T."""

    def restart(self, head: Mapping[str, torch.Tensor]) -> None:
        """Takes other parameters for the head; what they were computed from is left behind.

        The next steps differentiate in weights that are equal to those before, but lead to
        `head` no more; the meta-gradient passes through both.

        Args:
            head: by name, each with a leading T.
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
    weights: FastWeights,
    support: torch.Tensor,
    support_labels: torch.Tensor,
    steps: int,
    moments: BatchMoments | None = None,
) -> Iterator[FastWeights]:
    """Gradient steps on the support sets (Finn et al. 2017, algorithm 1, lines 5 to 7).

    Args:
        weights: as the backbone has them.
        support: images (T, ways * shots, channels, H, W) in [0, 1].
        support_labels: int64 (T, ways * shots) in [0, ways).
        steps: gradient steps K, 0 or more.
        moments: that the support sets are normalised by; their own by default.

    Yields:
        The weights after 0, 1, ..., K steps: each time the same object.
    """
    if not weights.head.plain:
        parameters = weights.head_parameters()
        weights.restart(
            weights.head.start(
                parameters, lambda: weights.embeddings(support, moments), support_labels
            )
        )
    yield weights
    for _ in range(steps):
        weights.step(task_losses(weights.logits(support, moments), support_labels))
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
