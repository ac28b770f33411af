"""Batch normalisation by the statistics of the batch, the support set or the population."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from l2l_omniglot.errors import BackboneError

Moments: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # biased variance, and mean
Forward: TypeAlias = Callable[[nn.Module, torch.Tensor], torch.Tensor]
# Returns the moments that a layer normalises by; its argument computes those of the batch.
Source: TypeAlias = Callable[[Callable[[], Moments]], Moments]


@dataclass(frozen=True)
class BatchMoments:
    """The moments of every normalisation layer in one forward pass.

    Of every layer, by name, variance and mean for each of its uses, (T, channels) for T tasks side
    by side or (1, channels). Gradients flow through those recorded with gradients enabled.
    """

    layers: dict[str, list[Moments]] = field(default_factory=dict)

    def to(self, device: torch.device) -> BatchMoments:
        """Moves them to a device."""
        return BatchMoments.of(self.tensors(), device)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Returns them by ``<layer>/<use>``, each variance over mean (2, T, channels)."""
        return {
            f"{layer}/{use}": torch.stack(found)
            for layer, uses in self.layers.items()
            for use, found in enumerate(uses)
        }

    @classmethod
    def of(
        cls, tensors: Mapping[str, torch.Tensor], device: torch.device | None = None
    ) -> BatchMoments:
        """Inverts `tensors`."""
        layers: dict[str, dict[int, Moments]] = {}
        for name, tensor in tensors.items():
            layer, _, use = name.rpartition("/")
            variance, mean = tensor.to(device)
            layers.setdefault(layer, {})[int(use)] = variance, mean
        return cls({layer: [uses[i] for i in sorted(uses)] for layer, uses in layers.items()})

    def record(self, layer: str) -> Source:
        """Makes a layer normalise by the batch's moments, which are kept."""
        uses = self.layers.setdefault(layer, [])

        def keep(own: Callable[[], Moments]) -> Moments:
            uses.append(own())
            return uses[-1]

        return keep

    def replay(self, layer: str) -> Source:
        """Makes a layer normalise by its recorded moments, use by use."""
        left = iter(self.layers.get(layer, ()))

        def recall(_own: Callable[[], Moments]) -> Moments:
            for found in left:
                return found
            raise BackboneError(
                f"the batch normalisation layer {layer!r} is used more often than in the pass "
                "that recorded its statistics"
            )

        return recall


@dataclass(frozen=True)
class Policy:
    """Says by which statistics the images of a task are normalised.

    ``batch``: support and query set each by its own; ``support``: both by the support set's;
    ``population``: both by those of `average_moments`, which no task changes.
    """

    by: str
    population: BatchMoments | None = None

    def for_query(self, record_support: Callable[[], BatchMoments]) -> BatchMoments | None:
        """Returns the moments for the query set, or None for its own."""
        return record_support() if self.by == "support" else self.population


BY_BATCH, BY_SUPPORT = Policy("batch"), Policy("support")


def average_moments(recorded: Sequence[BatchMoments]) -> BatchMoments:
    """Computes population statistics: mean variance and mean over batches and their tasks."""

    def average(uses: Sequence[Moments]) -> Moments:
        variances, means = (torch.cat(part).detach() for part in zip(*uses, strict=True))
        return variances.mean(dim=0, keepdim=True), means.mean(dim=0, keepdim=True)

    return BatchMoments({
        name: [average(uses) for uses in zip(*(one.layers[name] for one in recorded), strict=True)]
        for name in recorded[0].layers
    })  # fmt: skip


def use_batch_statistics(module: nn.Module) -> None:
    """Removes the running statistics of every normalisation layer, in place.

    PyTorch then normalises by the batch in training and evaluation mode alike.
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
    """Computes scale and shift, (T, channels) each, so that x * scale + shift is normalised.

    Gradients flow through the moments, which torch's own running statistics do not allow.
    A mean of None is 0.
    """
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = weight * scale
    shift = torch.zeros_like(scale) if bias is None else bias
    return scale, shift if mean is None else shift - mean * scale


def checked_forward(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> torch.Tensor:
    """Computes logits (B, ways) of images (B, channels, H, W), and checks their shape.

    Raises:
        BackboneError: if the network fails, or returns another shape.
    """
    try:
        logits = network(images)
    except Exception as error:  # a plugin may raise anything
        raise BackboneError(
            f"the backbone fails on images of shape {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise BackboneError(f"the backbone returned {type(logits).__name__}; expected a tensor")
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != len(images):
        raise BackboneError(f"the backbone returned {shape}; expected logits ({len(images)}, ways)")
    return logits


def forward_by(
    network: nn.Module,
    moments: BatchMoments | None,
    images: torch.Tensor,
    forward: Forward = checked_forward,
) -> torch.Tensor:
    """Passes images (B, channels, H, W) through a network by given moments of one task.

    No image then affects another; only torch's own batch normalisation layers are recognised
    (`check_inductive` finds others). Without moments, the batch's are used. No other thread may use
    the network meanwhile.
    """
    if moments is None:
        return forward(network, images)
    with _normalising(network, moments.replay):
        return forward(network, images)


def record_moments(
    network: nn.Module, images: torch.Tensor, forward: Forward = checked_forward
) -> BatchMoments:
    """Passes images through a network and returns their moments; see `forward_by`."""
    moments = BatchMoments()
    with _normalising(network, moments.record):
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


def fold_statistics(network: nn.Module, moments: BatchMoments, images: torch.Tensor) -> nn.Module:
    """Copies a network in evaluation mode, with moments as its running statistics.

    `images`, two or more, are for checking that it is then inductive.
    """
    folded = copy.deepcopy(network).eval()
    with torch.no_grad():
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
        check_inductive(lambda batch: checked_forward(folded, batch), images)
    return folded


def check_inductive(logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> None:
    """Checks that an image has the same inductive logits alone and in a batch of two or more."""
    # Copies, because a network may change its input.
    alone, batch = logits(images[:1].clone())[0], logits(images.clone())
    # A GPU convolves in TF32, of 10 bits, and other batch sizes by other algorithms.
    tolerance = (2e-2 if images.is_cuda else 1e-3) * float(batch.abs().max().clamp(min=1))
    if not torch.allclose(alone, batch[0], rtol=0, atol=tolerance):
        raise BackboneError(
            "its query images affect each other outside torch's batch normalisation layers (an "
            "image's logits differ alone and in a batch), so it cannot be evaluated inductively; "
            "expected nn.BatchNorm layers, or transductive evaluation"
        )


def _layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """Returns the batch normalisation layers by name; refuses those that do more."""
    named = network.named_modules()
    layers = {name: layer for name, layer in named if isinstance(layer, _BatchNorm)}
    for name, layer in layers.items():
        if type(layer).forward is not _BatchNorm.forward:
            raise BackboneError(
                f"{type(layer).__name__} {name!r} does more than torch's batch normalisation, so "
                "it cannot use the support set's statistics; expected nn.BatchNorm1d, 2d or 3d, "
                "or transductive evaluation"
            )
    return layers


@contextmanager
def _normalising(network: nn.Module, source: Callable[[str], Source]) -> Iterator[None]:
    """Makes the layers take their moments from the source inside the block."""
    layers = _layers(network)
    try:
        for name, layer in layers.items():
            layer.forward = partial(_normalise, layer, source(name))  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers.values():
            layer.__dict__.pop("forward", None)


def _normalise(layer: _BatchNorm, source: Source, batch: torch.Tensor) -> torch.Tensor:
    """Normalises (B, channels, ...) by moments (1, channels) from the source."""

    def own() -> Moments:
        others = [axis for axis in range(batch.ndim) if axis != 1]
        values = batch.float() if batch.dtype == torch.bfloat16 else batch
        variance, mean = torch.var_mean(values, others, correction=0)
        return variance[None], mean[None]

    scale, shift = scale_and_shift(*source(own), layer.weight, layer.bias, layer.eps)
    shape = (1, -1, *(1,) * (batch.ndim - 2))
    return torch.addcmul(shift.view(shape), batch, scale.view(shape))
