"""How each task's head starts: as trained, or computed for any number of ways."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot.backbones import HEADS
from l2l_omniglot.backbones.heads import head_name, head_parameters
from l2l_omniglot.errors import BackboneError, check_choice


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
        self.own_weight, _ = _linear_parameters(backbone)

    def forward(
        self, weight: torch.Tensor, _embeddings: torch.Tensor | None, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `HeadStart`."""
        rows = weight.new_zeros(len(weight), ways_of(labels), weight.shape[2])
        return rows.requires_grad_(), rows.new_zeros(rows.shape[:2]).requires_grad_()


class SharedHead(ZeroHead):
    """Starts every class with the same trained row (Ye and Chao 2022, "UNICORN-MAML").

    The bias starts at zero: one number for all classes would cancel in the softmax.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        parameters = dict(backbone.named_parameters())
        self.weight = nn.Parameter(parameters[self.own_weight].detach().mean(dim=0))

    def forward(
        self, weight: torch.Tensor, _embeddings: torch.Tensor | None, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `HeadStart`."""
        rows = self.weight.expand(len(weight), ways_of(labels), -1)
        return rows, rows.new_zeros(rows.shape[:2]).requires_grad_()


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
