"""The head, the layer that computes the logits: its name, its input, its start in each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.errors import BackboneError


class TrainedHead(nn.Module):
    """Starts every task with the backbone's own head, as trained.

    Subclasses start it otherwise; what they train for that is among their parameters.
    """

    plain = True  # the backbone's own head is used, and `start` not called

    def start(
        self,
        _parameters: dict[str, torch.Tensor],
        _embeddings: Callable[[], torch.Tensor],
        _labels: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Computes the head of each of T tasks before the first inner step, for any number of ways.

        From the backbone's parameters, each with a leading T, and the support sets' embeddings
        (T, B, features) and labels (T, B). Returns the parameters to replace, by name.
        """
        return {}


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


def resize_rows(weights: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Fits the weights of a head to the module's number of rows, one for each class.

    Each row becomes the mean of all rows: training draws anew in each task which class a row
    stands for, so rows differ by the last few tasks only.
    """
    own = dict([*module.named_parameters(), *module.named_buffers()])
    found = dict(weights)
    for name, weight in weights.items():
        rows = own[name].shape[:1] if name in own else weight.shape[:1]
        if rows != weight.shape[:1]:
            found[name] = weight.mean(dim=0, keepdim=True).expand(*rows, *weight.shape[1:])
    return found


class HeadUse(NamedTuple):
    """One use of the head in a forward pass: what it was given, and what it made of that."""

    given: Any
    made: Any


def watch_head(
    network: nn.Module, images: torch.Tensor, head: str
) -> tuple[torch.Tensor, list[HeadUse]]:
    """Passes images (B, channels, H, W) through a network; returns logits and uses of its head.

    No other thread may use the network meanwhile.
    """
    uses: list[HeadUse] = []
    layer = network.get_submodule(head)
    original = layer.forward

    def forward(batch: Any) -> Any:
        uses.append(HeadUse(batch, original(batch)))
        return uses[-1].made

    # Not a hook: a learn2learn clone shares its hooks with the backbone, hence other threads.
    layer.forward = forward
    try:
        return checked_forward(network, images), uses
    finally:
        del layer.forward


def embed(network: nn.Module, images: torch.Tensor, head: str) -> torch.Tensor:
    """Computes the head's input for images, (B, features); see `watch_head`."""
    _, uses = watch_head(network, images, head)
    if len(uses) != 1:
        raise BackboneError(f"the backbone uses its last layer {len(uses)} times; expected once")
    features: torch.Tensor = uses[0].given.flatten(1)
    return features
