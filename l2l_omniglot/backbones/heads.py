"""The head, the layer that computes the logits: its name, its input, its start in each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear

from l2l_omniglot.backbones import HEADS
from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.errors import BackboneError, check_choice

MOST_EQUAL_WAYS = 50


class EqualLinear(nn.Linear):
    """A linear layer that is summed class by class, so that equal rows give equal logits.

    A matrix product may round equal rows differently, and then the accuracy before adaptation
    would not be exactly 1 / ways. Of more than 50 ways it is taken all the same: summed class by
    class, the head of 60-way training would take a tenth of an update.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Computes logits: (B, features) to (B, ways)."""
        if len(self.weight) > MOST_EQUAL_WAYS:
            return linear(features, self.weight, self.bias)
        return (features.unsqueeze(1) * self.weight).sum(dim=2) + self.bias


class TrainedHead(nn.Module):
    """Starts every task with the backbone's own head, as trained, for its number of ways.

    Subclasses start it otherwise, for any number of ways; what they train for that is among their
    parameters.
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


class ZeroHead(TrainedHead):
    """Starts every task with a head of zeros (Kao et al. 2022, "the zeroing trick").

    Args:
        backbone: whose head is replaced.

    Raises:
        BackboneError: if its head is not one weight (ways, features) with a bias (ways,).
    """

    plain = False

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.weight_name, self.bias_name = _linear_parameters(backbone)

    def start(
        self,
        parameters: dict[str, torch.Tensor],
        embeddings: Callable[[], torch.Tensor],
        labels: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """See `TrainedHead`."""
        weight, bias = self.rows(parameters[self.weight_name], embeddings, labels)
        return {self.weight_name: weight, self.bias_name: bias}

    def rows(
        self,
        own: torch.Tensor,
        _embeddings: Callable[[], torch.Tensor],
        labels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes weight (T, ways, features) and bias (T, ways) from the backbone's own weight."""
        weight = own.new_zeros(len(own), _ways(labels), own.shape[2]).requires_grad_()
        return weight, own.new_zeros(weight.shape[:2]).requires_grad_()


class SharedHead(ZeroHead):
    """Starts every class with the same trained row (Ye and Chao 2022, "UNICORN-MAML")."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        named = dict(backbone.named_parameters())
        self.weight = nn.Parameter(named[self.weight_name].detach().mean(dim=0))
        self.bias = nn.Parameter(named[self.bias_name].detach().mean())

    def rows(
        self,
        own: torch.Tensor,
        _embeddings: Callable[[], torch.Tensor],
        labels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `ZeroHead`."""
        tasks, ways = len(own), _ways(labels)
        return self.weight.expand(tasks, ways, -1), self.bias.expand(tasks, ways)


class PrototypeHead(ZeroHead):
    """Starts every task with the prototypes c of its classes: W = 2 s c, b = -s |c|^2.

    A prototype is the mean embedding of a class's support images, so the logits are the negative
    squared distances to the prototypes, up to a constant (Snell et al. 2017). With inner steps that
    is Proto-MAML (Triantafillou et al. 2020, section 3); the scale s is learned, from 1.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        like = next(backbone.parameters()).detach()
        self.scale = nn.Parameter(like.new_ones(()))

    def rows(
        self,
        own: torch.Tensor,
        embeddings: Callable[[], torch.Tensor],
        labels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `ZeroHead`."""
        means = class_means(embeddings().to(own.dtype), labels)
        return 2 * self.scale * means, -self.scale * means.square().sum(dim=2)


def class_means(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Averages embeddings (T, B, features) by label (T, B): (T, ways, features)."""
    tasks, _, features = embeddings.shape
    sums = embeddings.new_zeros(tasks, _ways(labels), features)
    sums = sums.scatter_add(1, labels[..., None].expand_as(embeddings), embeddings)
    counts = labels.new_zeros(sums.shape[:2]).scatter_add(1, labels, torch.ones_like(labels))
    return sums / counts[..., None]


def make_head(kind: str, backbone: nn.Module) -> TrainedHead:
    """Makes a head of a kind: ``trained``, ``shared``, ``zero`` or ``prototypes``.

    Raises:
        SettingsError: if the kind is unknown.
        BackboneError: if the backbone's own head cannot be replaced.
    """
    check_choice("head", kind, HEADS)
    if kind == "trained":
        return TrainedHead()
    return {"shared": SharedHead, "zero": ZeroHead, "prototypes": PrototypeHead}[kind](backbone)


def _ways(labels: torch.Tensor) -> int:
    return int(labels.max()) + 1


def _linear_parameters(backbone: nn.Module) -> tuple[str, str]:
    """Returns the names of weight and bias of the head, if it is a linear layer."""
    named, names = dict(backbone.named_parameters()), head_parameters(backbone)
    shapes = [tuple(named[name].shape) for name in names]
    if [len(shape) for shape in shapes] != [2, 1] or shapes[0][0] != shapes[1][0]:
        raise BackboneError(
            f"its head {head_name(backbone)!r} has parameters of shapes {shapes}; expected the "
            "weight (ways, features) and the bias (ways,) of a linear layer"
        )
    return names[0], names[1]


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

    with _replaced(layer, forward):
        return checked_forward(network, images), uses


def float_head(network: nn.Module, images: torch.Tensor, head: str) -> torch.Tensor:
    """Computes logits under autocast, but those of the head in its own precision.

    Distances are small differences of large numbers, which bfloat16 does not have.
    """
    layer = network.get_submodule(head)
    original, dtype = layer.forward, next(layer.parameters()).dtype

    def forward(batch: torch.Tensor) -> Any:
        with torch.autocast(batch.device.type, enabled=False):
            return original(batch.to(dtype))

    with _replaced(layer, forward):
        return checked_forward(network, images)


@contextmanager
def _replaced(layer: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    # Not a hook: a learn2learn clone shares its hooks with the backbone, hence other threads.
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


def embed(network: nn.Module, images: torch.Tensor, head: str) -> torch.Tensor:
    """Computes the head's input for images, (B, features); see `watch_head`."""
    _, uses = watch_head(network, images, head)
    if len(uses) != 1:
        raise BackboneError(f"the backbone uses its last layer {len(uses)} times; expected once")
    features: torch.Tensor = uses[0].given.flatten(1)
    return features
