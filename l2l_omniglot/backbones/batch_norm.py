"""Batch normalisation by the statistics of the batch, the support set or the population."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy

from l2l_omniglot.backbones.passes import Moments, Pass, present
from l2l_omniglot.errors import BackboneError


@dataclass(frozen=True)
class Policy:
    """Says by which statistics the images of a task are normalised.

    ``batch``: support and query set each by its own; ``support``: both by the support set's;
    ``population``: both by those of `average_moments`, which no task changes; ``per-step``: by
    those after as many inner steps (Antoniou et al. 2019, "BNRS"), the last known beyond.
    """

    by: str
    population: Moments | None = None

    def for_support(self, step: int) -> Moments | None:
        """Returns the moments for the support set after so many steps, or None for its own."""
        if self.by != "per-step" or self.population is None:
            return self.population
        step = min(step, max(number for key in self.population if (number := step_of(key)) >= 0))
        named = self.population.items()
        return {key.partition(":")[2]: tensor for key, tensor in named if step_of(key) == step}

    def for_query(self, step: int, record_support: Callable[[], Moments]) -> Moments | None:
        """Returns the moments for the query set after so many steps, or None for its own."""
        return record_support() if self.by == "support" else self.for_support(step)


BY_BATCH, BY_SUPPORT = Policy("batch"), Policy("support")


class Norm(nn.Module):
    """Takes the place of torch's batch normalisation, with its parameters; keeps no statistics.

    It normalises by what the present `Pass` gives, else by the batch, in either mode.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    eps: float

    def __init__(self, layer: _BatchNorm, name: str) -> None:
        super().__init__()
        self.__dict__.update(layer.__dict__)  # parameters, mode and hooks
        self.name = name

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Normalises (B, channels, ...)."""
        now = present()
        if now.plain:
            return batch_norm(batch, None, None, self.weight, self.bias, True, 0.0, self.eps)
        moments = now.recall(self.name)
        if moments is None:
            others = [axis for axis in range(batch.ndim) if axis != 1]
            values = batch.float() if batch.dtype == torch.bfloat16 else batch
            statistics = torch.stack(torch.var_mean(values, others, correction=0))
            moments = now.note(self.name, statistics[:, None])
        variance, mean = moments
        scale, shift = scale_and_shift(variance, mean, self.weight, self.bias, self.eps)
        shape = (1, -1, *(1,) * (batch.ndim - 2))
        return torch.addcmul(shift.view(shape), batch, scale.view(shape))

    def folded(self, moments: torch.Tensor) -> nn.BatchNorm2d:
        """Returns torch's layer in evaluation mode, for 2d and others, with running statistics."""
        layer = _Folded(moments.shape[2], self.eps).to(moments).eval()
        layer._parameters = self._parameters
        layer.running_var, layer.running_mean = moments[:, 0]
        return layer


class _Folded(nn.BatchNorm2d):
    def _check_input_dim(self, _input: torch.Tensor) -> None:
        """Takes any dimensions."""


def of_step(step: int, moments: Moments) -> Moments:
    """Copies moments as those after so many inner steps: ``<step>:<layer>/<use>``."""
    return {f"{step}:{key}": tensor.clone() for key, tensor in moments.items()}


def step_of(key: str) -> int:
    """Inverts `of_step` for a key; -1 if it says no step."""
    number, colon, _ = key.partition(":")
    return int(number) if colon and number.isdecimal() else -1


def average_moments(recorded: Sequence[Moments]) -> Moments:
    """Computes population statistics: mean variance and mean over batches and their tasks."""
    return {
        key: torch.cat([one[key] for one in recorded], dim=1).detach().mean(dim=1, keepdim=True)
        for key in recorded[0]
    }


def replace_layers(
    network: nn.Module, replacement: Callable[[str, nn.Module], nn.Module | None]
) -> nn.Module:
    """Puts other layers in the place of some, once each even if shared; returns the network."""
    made: dict[int, nn.Module] = {}
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        other = made[id(layer)] if id(layer) in made else replacement(name, layer)
        if other is None:
            continue
        made[id(layer)] = other
        if not name:
            return other
        parent, _, child = name.rpartition(".")
        network.get_submodule(parent)._modules[child] = other
    return network


def has_own_weight(layer: nn.Module) -> bool:
    """Returns whether a layer's weight is a parameter by now: not computed, and not lazy."""
    return "weight" in layer._parameters and not is_lazy(layer._parameters["weight"])  # type: ignore[arg-type]


def convert_norms(network: nn.Module) -> nn.Module:
    """Replaces every batch normalisation by a `Norm`, in place; returns the network.

    Subclasses that do more stay. All normalisation loses its running statistics.
    """

    def replacement(name: str, layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, _NormBase):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        if not isinstance(layer, _BatchNorm) or type(layer).forward is not _BatchNorm.forward:
            return None
        return Norm(layer, name) if has_own_weight(layer) else None

    return replace_layers(network, replacement)


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


def forward_by(network: nn.Module, moments: Moments | None, images: torch.Tensor) -> torch.Tensor:
    """Passes images (B, channels, H, W) through a converted network by given moments of one task.

    Without moments, the batch's are used.
    """
    check_norms(network, moments is not None)
    with Pass(given=moments):
        return checked_forward(network, images)


def record_moments(network: nn.Module, images: torch.Tensor) -> Moments:
    """Passes images through a converted network and returns their moments."""
    check_norms(network)
    with Pass(recorded={}) as now:
        checked_forward(network, images)
    assert now.recorded is not None
    return now.recorded


def fold_statistics(network: nn.Module, moments: Moments, images: torch.Tensor) -> nn.Module:
    """Copies a converted network in evaluation mode, with moments as its running statistics.

    `images`, two or more, are for checking that it is then inductive.
    """

    def folded(_name: str, layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, Norm):
            return None
        uses = [moments[key] for key in moments if key.rpartition("/")[0] == layer.name]
        if len(uses) > 1:
            raise BackboneError(
                f"its batch normalisation {layer.name!r} is used {len(uses)} times in a forward "
                "pass, with other statistics each, so it cannot be exported; expected once"
            )
        return layer.folded(uses[0]) if uses else None

    with torch.no_grad():
        clone = replace_layers(copy.deepcopy(network).eval(), folded)
        check_inductive(lambda batch: checked_forward(clone, batch), images)
    return clone


def check_inductive(logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> None:
    """Checks that an image has the same inductive logits alone and in a batch of two or more.

    Logits that are not finite, as of weights that have diverged, are left to those who score them.
    """
    # Copies, because a network may change its input.
    alone, batch = logits(images[:1].clone())[0], logits(images.clone())
    # A GPU convolves in TF32, of 10 bits, and other batch sizes by other algorithms.
    tolerance = (2e-2 if images.is_cuda else 1e-3) * float(batch.abs().max().clamp(min=1))
    if math.isfinite(tolerance) and not torch.allclose(alone, batch[0], rtol=0, atol=tolerance):
        raise BackboneError(
            "its query images affect each other outside torch's batch normalisation layers (an "
            "image's logits differ alone and in a batch), so it cannot be evaluated inductively; "
            "expected nn.BatchNorm layers, or transductive evaluation"
        )


def check_norms(network: nn.Module, needed: bool = True) -> None:
    """Refuses batch normalisation that was not converted, if moments are needed."""
    if not needed:
        return
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _Folded):
            raise BackboneError(
                f"{type(layer).__name__} {name!r} does more than torch's batch normalisation, so "
                "it cannot use the support set's statistics; expected nn.BatchNorm1d, 2d or 3d, "
                "or transductive evaluation"
            )
