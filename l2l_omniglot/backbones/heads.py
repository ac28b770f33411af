"""The head, the layer that computes the logits: its name, its input, its start in each task."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear

from l2l_omniglot.backbones import HEADS
from l2l_omniglot.backbones.batch_norm import (
    check_norms,
    checked_forward,
    convert_norms,
    has_own_weight,
    replace_layers,
)
from l2l_omniglot.backbones.passes import Moments, Pass, present
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

    These are its batch normalisation and, if that is linear, its head. Names do not change.
    """

    def replacement(name: str, layer: nn.Module) -> nn.Module | None:
        known = type(layer).forward in (nn.Linear.forward, EqualLinear.forward)
        is_head = name == head and known and has_own_weight(layer)
        return Head(layer) if is_head else None  # type: ignore[arg-type]

    head = head_name(backbone)
    return replace_layers(convert_norms(backbone), replacement)


def the_features(now: Pass) -> torch.Tensor:
    """Returns what the head was given in a pass, (B, features).

    Raises:
        BackboneError: if the head was not used exactly once.
    """
    found = now.features or []
    if len(found) != 1:
        raise BackboneError(f"the backbone uses its last layer {len(found)} times; expected once")
    return found[0].flatten(1)


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


class HeadStart(nn.Module):
    """Starts every task with the backbone's own head, as trained, for its number of ways.

    Subclasses start it otherwise, for any number of ways; what they train for that is among their
    parameters.
    """

    computed = False  # whether it is called
    embeds = False  # whether it needs embeddings

    def forward(
        self, weight: torch.Tensor, embeddings: torch.Tensor | None, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the head of each of T tasks before the first inner step.

        Args:
            weight: the backbone's own, (T, ways, features).
            embeddings: of the support sets, (T, B, features), if it needs them.
            labels: (T, B).

        Returns:
            Weight (T, ways, features) and bias (T, ways), of the ways of the labels.
        """
        raise NotImplementedError


class ZeroHead(HeadStart):
    """Starts every task with a head of zeros (Kao et al. 2022, "the zeroing trick").

    Args:
        backbone: whose head is replaced.

    Raises:
        BackboneError: if its head is not one weight (ways, features) with a bias (ways,).
    """

    computed = True

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.own_weight, self.own_bias = _linear_parameters(backbone)

    def forward(
        self, weight: torch.Tensor, _embeddings: torch.Tensor | None, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `HeadStart`."""
        rows = weight.new_zeros(len(weight), ways_of(labels), weight.shape[2])
        return rows.requires_grad_(), rows.new_zeros(rows.shape[:2]).requires_grad_()


class SharedHead(ZeroHead):
    """Starts every class with the same trained row (Ye and Chao 2022, "UNICORN-MAML")."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        own = dict(backbone.named_parameters())
        self.weight = nn.Parameter(own[self.own_weight].detach().mean(dim=0))
        self.bias = nn.Parameter(own[self.own_bias].detach().mean())

    def forward(
        self, weight: torch.Tensor, _embeddings: torch.Tensor | None, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `HeadStart`."""
        tasks, ways = len(weight), ways_of(labels)
        return self.weight.expand(tasks, ways, -1), self.bias.expand(tasks, ways)


class PrototypeHead(ZeroHead):
    """Starts every task with the prototypes c of its classes: W = 2 s c, b = -s |c|^2.

    A prototype is the mean embedding of a class's support images, so the logits are the negative
    squared distances to the prototypes, up to a constant (Snell et al. 2017). With inner steps that
    is Proto-MAML (Triantafillou et al. 2020, section 3); the scale s is learned, from 1.
    """

    embeds = True

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        like = next(backbone.parameters()).detach()
        self.scale = nn.Parameter(like.new_ones(()))

    def forward(
        self, weight: torch.Tensor, embeddings: torch.Tensor | None, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `HeadStart`."""
        assert embeddings is not None
        means = class_means(embeddings.to(weight.dtype), labels)
        return 2 * self.scale * means, -self.scale * means.square().sum(dim=2)


def class_means(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Averages embeddings (T, B, features) by label (T, B): (T, ways, features)."""
    tasks, _, features = embeddings.shape
    sums = embeddings.new_zeros(tasks, ways_of(labels), features)
    sums = sums.scatter_add(1, labels[..., None].expand_as(embeddings), embeddings)
    counts = labels.new_zeros(sums.shape[:2]).scatter_add(1, labels, torch.ones_like(labels))
    return sums / counts[..., None]


def make_head(kind: str, backbone: nn.Module) -> HeadStart:
    """Makes a head's start of a kind: ``trained``, ``shared``, ``zero`` or ``prototypes``.

    Raises:
        SettingsError: if the kind is unknown.
        BackboneError: if the backbone's own head cannot be replaced.
    """
    check_choice("head", kind, HEADS)
    if kind == "trained":
        return HeadStart()
    return {"shared": SharedHead, "zero": ZeroHead, "prototypes": PrototypeHead}[kind](backbone)


def ways_of(labels: torch.Tensor) -> int:
    """Returns the number of classes."""
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
