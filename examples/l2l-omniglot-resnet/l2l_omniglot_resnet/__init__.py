"""A small residual network as a backbone of l2l-omniglot, found by its entry point.

It uses nothing of l2l-omniglot's own: a backbone is any module from images to logits.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (32, 64, 64)


def resnet(*, ways: int, channels: int, image_size: int | tuple[int, int], **_: object) -> ResNet:
    """What the entry point names: builds the network for tasks of so many ways.

    Args:
        ways: number of classes.
        channels: of the images.
        image_size: pixels; the network takes any.
        _: settings of other backbones, as the contract has it.
    """
    del image_size  # the mean over the pixels makes it of no account
    return ResNet(ways, channels)


class ResNet(nn.Module):
    """A residual block a width, each halving the pixels; their mean; a linear layer.

    The linear layer starts at zero: before it adapts, every class is as likely.

    Args:
        ways: number of classes.
        channels: of the images.
        widths: filters of each block.

    Shape:
        float32 (B, channels, H, W) to logits (B, ways).
    """

    head_name = "head"  # what ANIL adapts, and the class means measure before

    def __init__(self, ways: int, channels: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        before = (channels, *widths)
        pairs = zip(before, widths, strict=False)
        self.blocks = nn.Sequential(*(ResidualBlock(inner, outer) for inner, outer in pairs))
        self.head = nn.Linear(widths[-1], ways)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits: (B, channels, H, W) to (B, ways)."""
        logits: torch.Tensor = self.head(self.blocks(images).mean(dim=(2, 3)))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside a 1x1 convolution (He et al. 2016).

    Batch normalisation keeps no running statistics: l2l-omniglot would take them out anyway.

    Args:
        inner: input channels.
        outer: filters.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer, track_running_stats=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer, track_running_stats=False)
        self.shortcut = nn.Conv2d(inner, outer, 1, stride=2, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, inner, H, W) to (B, outer, H / 2, W / 2), rounded up."""
        hidden = torch.relu(self.norm1(self.conv1(maps)))
        return torch.relu(self.norm2(self.conv2(hidden)) + self.shortcut(maps))
