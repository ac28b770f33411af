"""Fast weights: a backbone's weights while they adapt to tasks, and the one inner loop on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2l_omniglot.backbones.batch_norm import BatchMoments, Forward, checked_forward
from l2l_omniglot.backbones.heads import TrainedHead, embed, float_head, head_name
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.inner_rates import InnerRates


class Engine(ABC):
    """Computes tasks under fast weights.

    Args:
        backbone: see `Learner`.
        rates: of the inner loop.
        head: how each task's head starts; as trained by default.

    Attributes:
        name: as `--engine` takes it.
        threads_share: what a CPU's threads share: ``operations`` (all of them compute each), or
            ``chunks`` (each thread computes a chunk of tasks of its own).
    """

    name: str
    threads_share: str

    def __init__(
        self, backbone: nn.Module, rates: InnerRates, head: TrainedHead | None = None
    ) -> None:
        self.backbone, self.rates, self.head = backbone, rates, head or TrainedHead()

    @abstractmethod
    def tasks_at_once(self, pixels: int) -> int:
        """Returns how many tasks are best computed together, if a larger set has so many pixels."""

    @abstractmethod
    def start(self, tasks: int, first_order: bool) -> FastWeights:
        """Copies the backbone's weights for each of `tasks` tasks."""


class FastWeights(ABC):
    """A backbone's weights, one copy for each of T tasks.

    Attributes:
        head: how each task's head starts.
        bfloat16: whether layers compute in bfloat16 (autocast); the head and all weights do not.
    """

    bfloat16 = False

    def __init__(self, engine: Engine, first_order: bool) -> None:
        engine.rates.check(engine.backbone)
        self.head, self._backbone, self._rates = engine.head, engine.backbone, engine.rates
        self._head_name = head_name(engine.backbone)
        self._parameters = trained_parameters(engine.backbone, engine.rates, engine.head)
        self._first_order, self._step = first_order, 0
        self._losses: list[torch.Tensor] = []

    def logits(self, images: torch.Tensor, moments: BatchMoments | None = None) -> torch.Tensor:
        """Passes each task's images (T, B, channels, H, W) through its own copy: (T, B, ways).

        Batch normalisation treats all images of a task as one batch; with given moments, of T
        tasks or of 1 for all, no image affects another.

        Raises:
            BackboneError: if the backbone fails, or returns another shape.
        """
        if not self.bfloat16:
            return self._forward(images, moments, checked_forward)
        with self.autocast(images):
            return self._forward(images, moments, partial(float_head, head=self._head_name))

    def autocast(self, images: torch.Tensor) -> torch.autocast:
        """For forward passes only: gradients follow in the precision of what was computed."""
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16)

    def embeddings(self, images: torch.Tensor, moments: BatchMoments | None = None) -> torch.Tensor:
        """Computes the head's input, (T, B, features); see `logits`.

        Raises:
            BackboneError: as `logits`, or if the head is not used exactly once per forward pass.
        """
        with self.autocast(images):
            return self._forward(images, moments, partial(embed, head=self._head_name))

    @abstractmethod
    def _forward(
        self, images: torch.Tensor, moments: BatchMoments | None, forward: Forward
    ) -> torch.Tensor: ...

    @abstractmethod
    def record(self, images: torch.Tensor) -> BatchMoments:
        """Computes the moments of each task's images (T, B, channels, H, W) as one batch.

        They are those of the present weights, to which gradients flow.

        Raises:
            BackboneError: as `logits`, or if a layer does more than normalise.
        """

    @abstractmethod
    def head_parameters(self) -> dict[str, torch.Tensor]:
        """Returns the head's present parameters, by name, each with a leading T."""

    @abstractmethod
    def restart(self, head: Mapping[str, torch.Tensor]) -> None:
        """Replaces the head's parameters, and forgets what they were computed from.

        The next steps differentiate with respect to weights equal to those before, which do not
        lead to `head`; the meta-gradient passes through both.

        Args:
            head: by name, each with a leading T.
        """

    def step(self, losses: torch.Tensor) -> None:
        """Takes one gradient step of every copy on its own task's loss (T,).

        Raises:
            BackboneError: if the losses do not depend on the weights.
        """
        try:
            self._adapt(losses.sum())
        except RuntimeError as error:
            raise BackboneError(f"the inner loop cannot differentiate: {error}") from error
        self._step += 1

    @abstractmethod
    def _adapt(self, loss: torch.Tensor) -> None: ...

    def _gradients(
        self, loss: torch.Tensor, weights: Mapping[str, torch.Tensor]
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | float]]:
        """Yields name, gradient and rate of the weights that adapt and that the loss depends on."""
        names = self._rates.names
        gradients = torch.autograd.grad(
            loss, [weights[name] for name in names], create_graph=not self._first_order,
            allow_unused=True,
        )  # fmt: skip
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                yield name, gradient, self._rates.rate(name, self._step)

    def add_loss(self, losses: torch.Tensor) -> None:
        """Adds losses (T,) of the present weights to the loss that `meta_gradient` differentiates.

        Raises:
            BackboneError: if the losses do not depend on any parameter.
        """
        self._losses.append(losses)

    def meta_gradient(self) -> tuple[torch.Tensor | None, ...]:
        """Differentiates the sum of all added losses by each parameter that is trained.

        Through the steps, or in first order past them. In order of `trained_parameters`; None for
        parameters that the losses do not depend on.

        Raises:
            BackboneError: if the losses do not depend on any parameter.
        """
        try:
            total = torch.stack(self._losses).sum()
            return torch.autograd.grad(total, self._parameters, allow_unused=True)
        except (RuntimeError, ValueError) as error:
            raise BackboneError(f"the query loss has no gradient: {error}") from error


def trained_parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """Returns those that require gradients, of a backbone, its inner rates and its head's start."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def inner_loop(
    weights: FastWeights,
    support: torch.Tensor,
    support_labels: torch.Tensor,
    steps: int,
    moments: BatchMoments | None = None,
) -> Iterator[FastWeights]:
    """Takes gradient steps on the support sets (Finn et al. 2017, algorithm 1, lines 5 to 7).

    Args:
        weights: the backbone's own.
        support: images (T, ways * shots, channels, H, W) in [0, 1].
        support_labels: int64 (T, ways * shots) in [0, ways).
        steps: gradient steps K, 0 or more.
        moments: to normalise the support sets by; their own by default.

    Yields:
        The weights after 0, 1, ..., K steps: each time the same object.
    """
    if not weights.head.plain:
        parameters = weights.head_parameters()
        head = weights.head.start(
            parameters, lambda: weights.embeddings(support, moments), support_labels
        )
        weights.restart(head)
    yield weights
    for _ in range(steps):
        weights.step(task_losses(weights.logits(support, moments), support_labels))
        yield weights


def task_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Computes the mean cross-entropy of each task in nats: (T, B, ways) and (T, B) to (T,).

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
