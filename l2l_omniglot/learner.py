"""The learner: learn2learn's MAML around a backbone, and the one inner loop of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2l_omniglot.compat import l2l
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.tasks import Task


class Score(NamedTuple):
    """How a network does on a query set.

    Attributes:
        loss: mean cross-entropy in nats, a scalar tensor (with its graph where one is kept).
        accuracy: fraction of the query images classified right, in [0, 1].
    """

    loss: torch.Tensor
    accuracy: float


class TaskGradient(NamedTuple):
    """One task's part of the meta-gradient.

    Attributes:
        score: of the query set after the last step, without a graph.
        gradients: one a trained parameter, of its shape; None where the loss does not use it.
    """

    score: Score
    gradients: tuple[torch.Tensor | None, ...]


class Learner:
    """A backbone that adapts to tasks: MAML (Finn et al. 2017, algorithm 1 and 2).

    Batch normalisation in the backbone loses its running statistics, in place: it then always
    uses those of the batch at hand, and no task can change what the next one sees.

    Args:
        backbone: module from float32 (B, channels, H, W) to logits (B, ways).
        inner_lr: step size of the inner loop (alpha), above 0.
        first_order: treat the inner gradients as constants (FOMAML, section 5.2 of the paper)
            instead of differentiating through them.

    Attributes:
        backbone: the meta-learned module itself; adapting never changes it.
        maml: learn2learn's ``MAML`` around it.

    Raises:
        SettingsError: if `inner_lr` is not above 0.
        BackboneError: if the backbone has nothing to train.
    """

    def __init__(self, backbone: nn.Module, inner_lr: float, first_order: bool = False) -> None:
        if not inner_lr > 0:
            raise SettingsError(f"inner learning rate {inner_lr}: needed above 0")
        if not any(p.requires_grad for p in backbone.parameters()):
            raise BackboneError(f"{type(backbone).__name__} has no parameter that can be trained")
        use_batch_statistics(backbone)
        self.backbone = backbone
        self.inner_lr = inner_lr
        self.first_order = first_order
        # With allow_nograd, learn2learn's adapt() lets autograd's errors through; without it
        # prints and swallows them. Parameters a forward pass does not use stay as they are.
        self.draws: dict[bool, bool] = {}  # see `l2l_omniglot.parallel`
        self.maml: Any = l2l.algorithms.MAML(
            backbone, inner_lr, first_order, allow_unused=True, allow_nograd=True
        )

    def parameters(self) -> list[nn.Parameter]:
        """The backbone's parameters that are trained (those that require gradients)."""
        return [p for p in self.backbone.parameters() if p.requires_grad]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters, hence of the images."""
        return next(self.backbone.parameters()).dtype

    def adapt(
        self,
        support: torch.Tensor,
        support_labels: torch.Tensor,
        steps: int,
        first_order: bool | None = None,
    ) -> Iterator[nn.Module]:
        """The inner loop: gradient steps on the support set, on a copy of the backbone.

        Args:
            support: images (ways * shots, channels, H, W) in [0, 1].
            support_labels: int64 (ways * shots,) in [0, ways).
            steps: gradient steps K, 0 or more.
            first_order: as in the constructor; by default what was said there.

        Yields:
            The copy after 0, 1, ..., K steps; each time the same module, so use it before
            asking for the next. Its parameters lead back to the backbone's.

        Raises:
            BackboneError: if the backbone fails on the images, returns something else than
                (B, ways) logits, or its loss does not depend on its parameters.
        """
        least = int(support_labels.max()) + 1
        clone = self.maml.clone(first_order=first_order)
        _own_buffers(clone)
        yield clone
        for _ in range(steps):
            loss = cross_entropy(forward(clone, support, least), support_labels)
            try:
                clone.adapt(loss)
            except RuntimeError as error:
                raise BackboneError(f"the inner loop cannot differentiate: {error}") from error
            yield clone

    def score_steps(self, task: Task, steps: int) -> list[Score]:
        """Adapts to a task, and scores its query set after every step.

        All query images are one batch: batch normalisation is *transductive*.

        Args:
            task: see `Task`.
            steps: gradient steps K, 0 or more.

        Returns:
            K + 1 scores, before adaptation and after each step, without graphs.
        """
        scores = []
        task = task.to(self.device, self.dtype)
        with self.evaluating(), torch.enable_grad():
            # Nothing differentiates through these steps, so no graph of them is kept.
            for network in self.adapt(task.support, task.support_labels, steps, first_order=True):
                with torch.no_grad():
                    scores.append(score(network, task))
        return scores

    def task_gradient(self, task: Task, steps: int) -> TaskGradient:
        """One task's part of the meta-gradient: that of its query loss after the last step.

        Args:
            task: see `Task`.
            steps: gradient steps K, 0 or more.

        Raises:
            BackboneError: as `adapt`, or if no parameter is to be trained.
        """
        result = self.meta_score(task, steps)
        try:
            gradients = torch.autograd.grad(result.loss, self.parameters(), allow_unused=True)
        except (RuntimeError, ValueError) as error:
            raise BackboneError(f"the query loss has no gradient: {error}") from error
        return TaskGradient(Score(result.loss.detach(), result.accuracy), gradients)

    def meta_score(self, task: Task, steps: int) -> Score:
        """Adapts to a task and scores its query set after the last step, with the graph kept.

        The loss differentiates with respect to the backbone's parameters: through the inner
        steps, or in first order past them.
        """
        task = task.to(self.device, self.dtype)
        *_, network = self.adapt(task.support, task.support_labels, steps)
        return score(network, task)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside the block the backbone is in evaluation mode (no dropout)."""
        modes = {module: module.training for module in self.backbone.modules()}
        self.backbone.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def score(network: nn.Module, task: Task) -> Score:
    """Scores a network on the query set of a task, as one batch."""
    ways = len(task.classes)
    logits = forward(network, task.query, ways)
    if logits.shape[1] != ways:
        raise BackboneError(f"the backbone has {logits.shape[1]} ways; the task has {ways}")
    right = int((logits.argmax(dim=1) == task.query_labels).sum())
    return Score(cross_entropy(logits, task.query_labels), right / len(logits))


def forward(network: nn.Module, images: torch.Tensor, ways: int) -> torch.Tensor:
    """Logits (B, at least `ways`) of images (B, channels, H, W).

    Raises:
        BackboneError: if the network fails, or returns another shape.
    """
    try:
        logits = network(images)
    except Exception as error:  # a stranger's network may raise anything
        raise BackboneError(
            f"the backbone fails on images of shape {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise BackboneError(f"the backbone returned {type(logits).__name__}; needed a tensor")
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != len(images) or shape[1] < ways:
        raise BackboneError(f"the backbone returned {shape}; needed logits ({len(images)}, {ways})")
    return logits


def use_batch_statistics(module: nn.Module) -> None:
    """Takes the running statistics out of every normalisation layer, in place.

    Without them PyTorch normalises by the batch at hand in training and evaluation mode alike.
    """
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def _own_buffers(module: nn.Module) -> None:
    """Gives a learn2learn clone its own buffers; as made, it shares its original's."""
    for layer in module.modules():
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = buffer.clone()
