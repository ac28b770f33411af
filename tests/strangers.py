"""Networks as strangers write them, beside the package's own, with weights off their start."""

import torch
from torch import nn

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.registry import make_backbone


class Residual(nn.Module):
    """A stranger's network: strides, padding and pooling of its own, a layer used twice."""

    def __init__(self, ways: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 5, stride=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.narrow = nn.Sequential(nn.Conv2d(6, 4, (3, 1), stride=(4, 2)), nn.BatchNorm2d(4))
        self.head = nn.Linear(4 * 2 * 5, ways)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.norm(self.first(images)))
        hidden = hidden + self.twice(torch.tanh(self.twice(hidden)))
        return self.head(self.narrow(hidden).flatten(1))


class Scale(nn.Module):
    """A layer with a formula of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(-torch.ones(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.factor.exp()


def in_blocks(ways: int) -> nn.Sequential:
    """A stranger's network in blocks, one with all in the other order, then other layers."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Conv2d(4, 4, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2, stride=2),
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, stride=1),
        nn.Flatten(), nn.LayerNorm(4 * 3 * 3), nn.Linear(4 * 3 * 3, ways), Scale(),
    )  # fmt: skip


STRANGERS = {"residual": Residual, "blocks": in_blocks}
BACKBONES = ["basenet", "cnn4", "fc", *STRANGERS]


def untouched(name: str) -> nn.Module:
    return STRANGERS[name](5) if name in STRANGERS else make_backbone(name, ways=5)


def some_backbone(name: str) -> nn.Module:
    torch.manual_seed(3)
    backbone = untouched(name)
    with torch.no_grad():  # off the special values networks start with
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if isinstance(backbone, BaseNet):  # negative scales turn a maximum into a minimum
            backbone.block1.norm.weight[::3] *= -1
            backbone.block4.norm.weight[::2] *= -1
        if name == "blocks":
            backbone[0][1].weight[::3] *= -1
    return backbone
