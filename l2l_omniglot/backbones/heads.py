"""The head, the layer that computes the logits: its name, its input, other numbers of ways."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot.backbones.batch_norm import (
    check_norms,
    checked_forward,
    convert_norms,
    has_own_weight,
    replace_layers,
)
from l2l_omniglot.backbones.passes import Moments, Pass, present
from l2l_omniglot.errors import BackboneError

MOST_EQUAL_WAYS = 50


class EqualLinear(nn.Linear):
    """A linear layer that is summed class by class, so that equal rows give equal logits.

    A matrix product may round equal rows differently, and then the accuracy before adaptation
    would not be exactly 1 / ways. Of more than 50 ways it is taken all the same: summed class by
    class, the head of 60-way training would take a tenth of an update.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Computes logits: (B, features) to (B, ways)."""
        return logits_of(features, self.weight, self.bias, equal=True)


class Head(nn.Module):
    """Takes the place of a backbone's last linear layer, with its parameters.

    It tells the present `Pass` what it is given, and computes in the precision of its weights,
    under autocast, too: distances are small differences of large numbers, which bfloat16 does not
    have.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.__dict__.update(layer.__dict__)
        self.equal = isinstance(layer, EqualLinear)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Computes logits: (B, features) to (B, ways)."""
        present().see(features)
        return logits_of(features, self.weight, self.bias, self.equal)


def logits_of(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, equal: bool
) -> torch.Tensor:
    """Computes logits (..., B, ways) from (..., B, features), (..., ways, features), (..., ways).

    They are of one task or, with a leading T, of several. If `equal`, equal rows give equal logits,
    see `EqualLinear`.
    """
    device = features.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return logits_of(features.to(weight.dtype), weight, bias, equal)
    if equal and weight.shape[-2] <= MOST_EQUAL_WAYS:
        logits = (features.unsqueeze(-2) * weight.unsqueeze(-3)).sum(dim=-1)
    else:
        logits = features @ weight.mT
    return logits if bias is None else logits + bias.unsqueeze(-2)


def convert(backbone: nn.Module) -> nn.Module:
    """Gives a backbone, in place, the layers that ask the present `Pass`; returns it.

    These are its batch normalisation and, if that is linear, its head; another head is watched.
    Names do not change. A backbone that is itself such a layer is replaced: use what is returned.
    """

    def replacement(name: str, layer: nn.Module) -> nn.Module | None:
        known = type(layer).forward in (nn.Linear.forward, EqualLinear.forward)
        is_head = name == head and known and has_own_weight(layer)
        return Head(layer) if is_head else None  # type: ignore[arg-type]

    head = head_name(backbone)
    backbone = replace_layers(convert_norms(backbone), replacement)
    other = dict(backbone.named_modules(remove_duplicate=False)).get(head)
    if other is not None and not isinstance(other, Head) and not is_watched(other):
        other.register_forward_pre_hook(watch)
    return backbone


def watch(_layer: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    """Tells the present `Pass` what a head is given that is not a `Head`; a forward pre-hook."""
    present().see(given[0])


def is_watched(layer: nn.Module) -> bool:
    """Returns whether a layer has the hook `watch`."""
    return watch in layer._forward_pre_hooks.values()


def the_features(now: Pass) -> torch.Tensor:
    """Returns what the head was given in a pass, (B, features).

    Raises:
        BackboneError: if the head was not used exactly once.
    """
    inputs = now.features or []
    if len(inputs) != 1:
        raise BackboneError(f"the backbone uses its last layer {len(inputs)} times; expected once")
    return inputs[0].flatten(1)


def embed(network: nn.Module, images: torch.Tensor, moments: Moments | None = None) -> torch.Tensor:
    """Computes the head's input for images, (B, features), in a converted network.

    Images (B, channels, H, W) are normalised by the given moments, or as one batch.

    Raises:
        BackboneError: see `the_features`.
    """
    check_norms(network, moments is not None)
    with Pass(given=moments, features=[]) as now:
        checked_forward(network, images)
    return the_features(now)


def head_name(backbone: nn.Module) -> str:
    """Returns the name of the layer that computes the logits.

    That is the backbone's attribute ``head_name``, else the layer of its last parameter, which
    is right wherever layers are made in the order of their use.
    """
    last = [name for name, _ in backbone.named_parameters()][-1]
    return str(getattr(backbone, "head_name", layer_of(last)))


def head_parameters(backbone: nn.Module) -> tuple[str, ...]:
    """Returns the names of the head's parameters."""
    head = head_name(backbone)
    return tuple(name for name, _ in backbone.named_parameters() if layer_of(name) == head)


def layer_of(parameter: str) -> str:
    """Returns the name of the layer that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def resize_steps(values: torch.Tensor, steps: int, dim: int) -> torch.Tensor:
    """Leaves out what is learned for later steps, or repeats what is learned for the last one."""
    chosen = torch.arange(steps, device=values.device).clamp(max=values.shape[dim] - 1)
    return values.index_select(dim, chosen)


def resize_rows(weights: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Fits the weights of a head to the module's number of rows, one for each class.

    Each row becomes the mean of all rows: training draws anew in each task which class a row
    stands for, so rows differ by the last few tasks only.
    """
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    resized = dict(weights)
    for name, weight in weights.items():
        rows = tensors[name].shape[:1] if name in tensors else weight.shape[:1]
        if rows != weight.shape[:1]:
            resized[name] = weight.mean(dim=0, keepdim=True).expand(*rows, *weight.shape[1:])
    return resized
