"""Batch normalisation: by the batch at hand, the support set's statistics or the population's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from l2l_omniglot.backbones.heads import checked_forward
from l2l_omniglot.errors import BackboneError

Moments: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # variance (not corrected) and mean
Forward: TypeAlias = Callable[[nn.Module, torch.Tensor], torch.Tensor]
# Gives a layer the moments to normalise by, told how to take those of the batch at hand.
Source: TypeAlias = Callable[[Callable[[], Moments]], Moments]


@dataclass(frozen=True)
class BatchMoments:
    """The moments of every normalisation layer in one forward pass.

    Recorded where gradients are enabled, they lead back to the weights.

    Attributes:
        layers: by the layer's name, an entry for each of its uses: variance and mean, each
            (T, channels) for T tasks side by side, or (1, channels).
    """

    layers: dict[str, list[Moments]] = field(default_factory=dict)

    def record(self, layer: str) -> Source:
        """Lets a layer normalise by the batch at hand, and keeps its moments."""
        uses = self.layers.setdefault(layer, [])

        def keep(own: Callable[[], Moments]) -> Moments:
            uses.append(own())
            return uses[-1]

        return keep

    def replay(self, layer: str) -> Source:
        """Lets a layer normalise by what was recorded of it, use by use."""
        left = iter(self.layers.get(layer, ()))

        def recall(_own: Callable[[], Moments]) -> Moments:
            for found in left:
                return found
            raise BackboneError(
                f"the batch normalisation layer {layer!r} is used more often than in the pass "
                "that its statistics are from"
            )

        return recall


@dataclass(frozen=True)
class Policy:
    """By which statistics the images of a task are normalised.

    Attributes:
        by: ``batch`` (the support and the query set each by its own), ``support`` (both by the
            support set's) or ``population`` (both by statistics that no task changes).
        population: those statistics, see `average_moments`.
    """

    by: str
    population: BatchMoments | None = None

    def for_query(self, of_support: Callable[[], BatchMoments]) -> BatchMoments | None:
        """The moments for the query set; None: its own.

        Args:
            of_support: records those of the support set.
        """
        return of_support() if self.by == "support" else self.population


BY_BATCH, BY_SUPPORT = Policy("batch"), Policy("support")
MODES = {"transductive": BY_BATCH, "inductive": BY_SUPPORT}


def by_population(moments: BatchMoments) -> Policy:
    """The policy of normalising support and query sets by statistics kept from training."""
    return Policy("population", moments)


def average_moments(recorded: Sequence[BatchMoments]) -> BatchMoments:
    """Population statistics: the means of variances and means over batches and their tasks.

    Args:
        recorded: one or more, of the same network.
    """

    def average(uses: Sequence[Moments]) -> Moments:
        parts = (torch.cat([use[part] for use in uses]).detach() for part in range(2))
        variance, mean = (part.mean(dim=0, keepdim=True) for part in parts)
        return variance, mean

    return BatchMoments({
        name: [average(uses) for uses in zip(*(one.layers[name] for one in recorded), strict=True)]
        for name in recorded[0].layers
    })  # fmt: skip


def use_batch_statistics(module: nn.Module) -> None:
    """Takes the running statistics out of every normalisation layer, in place.

    Without them PyTorch normalises by the batch at hand in training and evaluation mode alike.
    """
    for layer in module.modules():
        if isinstance(layer, _NormBase):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def scale_and_shift(
    variance: torch.Tensor,
    mean: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What normalising multiplies values by, and what it adds; (T, channels) each.

    Differentiable in all of them, as torch's own is not in given moments. A mean of None is 0.
    """
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = weight * scale
    shift = torch.zeros_like(scale) if bias is None else bias
    return scale, shift if mean is None else shift - mean * scale


def forward_by(
    network: nn.Module,
    moments: BatchMoments | None,
    images: torch.Tensor,
    forward: Forward = checked_forward,
) -> torch.Tensor:
    """Passes images (B, channels, H, W) through a network by given moments, T of them 1.

    No image then sees another; without moments, the batch at hand is used. Only layers of
    torch's own batch normalisation are known as such; see `check_inductive` for other ones.

    Args:
        network: left as it was; no other thread may use it meanwhile.
        moments: of this network.
        images: one or more.
        forward: ``network(images)``, with checks around it, or another result of that pass.

    Raises:
        BackboneError: if a layer does more than normalise, or is used more often than before.
    """
    if moments is None:
        return forward(network, images)
    with _going_by(network, moments.replay):
        return forward(network, images)


def record_moments(
    network: nn.Module, images: torch.Tensor, forward: Forward = checked_forward
) -> BatchMoments:
    """Passes images through a network, and keeps the moments; see `forward_by`."""
    moments = BatchMoments()
    with _going_by(network, moments.record):
        forward(network, images)
    return moments


def with_support_statistics(
    network: nn.Module,
    support: torch.Tensor,
    images: torch.Tensor,
    forward: Forward = checked_forward,
) -> torch.Tensor:
    """Passes images through a network by the statistics of a support set; see `forward_by`."""
    return forward_by(network, record_moments(network, support, forward), images, forward)


def fold_support_statistics(network: nn.Module, support: torch.Tensor) -> nn.Module:
    """A copy in evaluation mode, whose running statistics are the support set's.

    Args:
        network: batch normalisation by the batch at hand.
        support: images (B, channels, H, W) in [0, 1].

    Raises:
        BackboneError: if a layer is not torch's own or used more than once in a forward pass,
            or if images see each other otherwise.
    """
    folded = copy.deepcopy(network).eval()
    with torch.no_grad():
        moments = record_moments(folded, support)
        for name, layer in _layers(folded).items():
            uses = moments.layers[name]
            if len(uses) > 1:
                raise BackboneError(
                    f"its batch normalisation {name!r} is used {len(uses)} times in a forward "
                    "pass, with other statistics each, so it cannot be exported; expected once"
                )
            for variance, mean in uses:
                layer.track_running_stats = True
                layer.running_mean, layer.running_var = mean[0], variance[0]
        check_inductive(lambda images: checked_forward(folded, images), support)
    return folded


def check_inductive(logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> None:
    """Tries out that an image has the same logits alone and in company.

    Args:
        logits: inductive logits (B, ways) of images (B, channels, H, W).
        images: two or more.

    Raises:
        BackboneError: if it has not: images see each other outside torch's layers.
    """
    # Copies, for a network may change what it is given.
    alone, together = logits(images[:1].clone())[0], logits(images.clone())[0]
    if not torch.allclose(alone, together, rtol=1e-3, atol=1e-3):
        raise BackboneError(
            "its query images see each other outside torch's batch normalisation layers (an "
            "image's logits are not the same alone and in company), so it cannot be evaluated "
            "inductively; expected nn.BatchNorm layers, or transductive evaluation"
        )


def _layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """The layers that normalise, by name.

    Raises:
        BackboneError: if one does more than that.
    """
    named = network.named_modules()
    layers = {name: layer for name, layer in named if isinstance(layer, _BatchNorm)}
    for name, layer in layers.items():
        if type(layer).forward is not _BatchNorm.forward:
            raise BackboneError(
                f"{type(layer).__name__} {name!r} does something else than torch's batch "
                "normalisation, so it cannot be given the support set's statistics; expected "
                "nn.BatchNorm1d, 2d or 3d, or transductive evaluation"
            )
    return layers


@contextmanager
def _going_by(network: nn.Module, source: Callable[[str], Source]) -> Iterator[None]:
    """Inside the block the layers get their moments from the source."""
    layers = _layers(network)
    try:
        for name, layer in layers.items():
            layer.forward = _normaliser(layer, source(name))  # type: ignore[assignment]
        yield
    finally:
        for layer in layers.values():
            layer.__dict__.pop("forward", None)


def _normaliser(layer: _BatchNorm, source: Source) -> Callable[[torch.Tensor], torch.Tensor]:
    """The layer's forward pass by moments from the source."""

    def forward(batch: torch.Tensor) -> torch.Tensor:
        variance, mean = source(lambda: _moments(batch))
        scale, shift = scale_and_shift(variance, mean, layer.weight, layer.bias, layer.eps)
        shape = (1, -1, *(1,) * (batch.ndim - 2))
        return torch.addcmul(shift.view(shape), batch, scale.view(shape))

    return forward


def _moments(batch: torch.Tensor) -> Moments:
    """Variance and mean of (B, channels, ...): each (1, channels)."""
    others = [axis for axis in range(batch.ndim) if axis != 1]
    variance, mean = torch.var_mean(batch, others, correction=0)
    return variance[None], mean[None]
