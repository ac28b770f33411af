"""The head, the layer that makes the logits: which it is, what it is given, how tasks start it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from l2l_omniglot.errors import BackboneError


class TrainedHead(nn.Module):
    """Starts every task with the backbone's own head, as trained.

    Subclasses start it in other ways; what they train for that is among their parameters.

    Attributes:
        plain: whether the head is left as the backbone has it, so that `start` is not called.
    """

    plain = True

    def start(
        self,
        _parameters: dict[str, torch.Tensor],
        _embeddings: Callable[[], torch.Tensor],
        _labels: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The parameters of each task's head before the first step, for T tasks side by side.

        Gradients flow through whatever it is computed from.

        Args:
            _parameters: the backbone's, by name, each with a leading T.
            _embeddings: computes those of the support sets, (T, B, features).
            _labels: of the support sets, int64 (T, B) in [0, ways).

        Returns:
            Those that are others than the backbone's, by name; of any number of ways.
        """
        return {}


def head_name(backbone: nn.Module) -> str:
    """The name of the layer that makes the logits.

    The backbone says so itself by an attribute ``head_name``; without one it is the layer that
    has its last parameter, which is right wherever layers are made in the order of their use.
    """
    last = [name for name, _ in backbone.named_parameters()][-1]
    return str(getattr(backbone, "head_name", layer_of(last)))


def head_parameters(backbone: nn.Module) -> tuple[str, ...]:
    """The names of the head's parameters."""
    head = head_name(backbone)
    return tuple(name for name, _ in backbone.named_parameters() if layer_of(name) == head)


def layer_of(parameter: str) -> str:
    """The name of the layer that has the parameter of a name."""
    return parameter.rpartition(".")[0]


def resize_rows(weights: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights, with as many rows as the module's: those of a head for other ways.

    Each row is then the mean of the rows there were. Which class of a training task a row
    stands for is drawn anew for each task, so what meta-training has to say of one row it says
    of all; they differ by the last few tasks.
    """
    own = dict([*module.named_parameters(), *module.named_buffers()])
    found = dict(weights)
    for name, weight in weights.items():
        rows = own[name].shape[:1] if name in own else weight.shape[:1]
        if rows != weight.shape[:1]:
            found[name] = weight.mean(dim=0, keepdim=True).expand(*rows, *weight.shape[1:])
    return found


class HeadUse(NamedTuple):
    """One use of the head in a forward pass.

    Attributes:
        given: what it was called with.
        made: what it returned.
    """

    given: Any
    made: Any


def watch_head(
    network: nn.Module, images: torch.Tensor, head: str
) -> tuple[torch.Tensor, list[HeadUse]]:
    """Passes images through a network, and notes the uses of its head.

    Args:
        network: no other thread may use it meanwhile.
        images: (B, channels, H, W).
        head: its name.

    Returns:
        The logits (B, ways), and every use, in order.
    """
    uses: list[HeadUse] = []
    layer = network.get_submodule(head)
    original = layer.forward

    def forward(batch: Any) -> Any:
        uses.append(HeadUse(batch, original(batch)))
        return uses[-1].made

    # No hook: a learn2learn clone shares its hooks with the backbone, and so with other threads.
    layer.forward = forward
    try:
        return checked_forward(network, images), uses
    finally:
        del layer.forward


def embed(network: nn.Module, images: torch.Tensor, head: str) -> torch.Tensor:
    """What the head is given for images: (B, features); see `watch_head`.

    Raises:
        BackboneError: if the backbone's head is not used exactly once a pass.
    """
    _, uses = watch_head(network, images, head)
    if len(uses) != 1:
        raise BackboneError(f"the backbone uses its last layer {len(uses)} times; expected once")
    features: torch.Tensor = uses[0].given.flatten(1)
    return features


def checked_forward(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (B, ways) of images (B, channels, H, W).

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
        raise BackboneError(f"the backbone returned {type(logits).__name__}; expected a tensor")
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != len(images):
        raise BackboneError(f"the backbone returned {shape}; expected logits ({len(images)}, ways)")
    return logits
