"""resnet8, a small residual network."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

from l2l_omniglot.backbones.heads import EqualLinear
from l2l_omniglot.errors import BackboneError, check_number, refused


class BasicBlock(nn.Module):
    """Two convolutions 3x3 beside a shortcut (He et al. 2016, figure 2).

    From (B, channels, H, W) to (B, filters, H / stride, W / stride), rounded up.
    """

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters, track_running_stats=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters, track_running_stats=False)
        self.shortcut = nn.Sequential(
            nn.Conv2d(channels, filters, 1, stride, bias=False),
            nn.BatchNorm2d(filters, track_running_stats=False),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Computes the block's output."""
        inner = self.norm2(self.conv2(relu(self.norm1(self.conv1(maps)))))
        return relu(inner + self.shortcut(maps))


class ResNet8(nn.Module):
    """A 5x5 stem of stride 2 with 32 filters, then basic blocks of 64, 128 and 128 filters.

    The second block has stride 2; the embedding is the mean over the pixels, 128 features.

    Args:
        ways: number of classes, at least 2.
        channels: of the images.
        image_size: pixels, at least 4; one number, or (height, width).

    Raises:
        BackboneError: if `ways`, `channels` or `image_size` is too small.

    Shape:
        float32 (B, channels, H, W) to logits (B, ways).
    """

    def __init__(
        self,
        ways: int = 5,
        channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        **_: object,
    ) -> None:
        super().__init__()
        check_number("ways", ways, minimum=2, kind=BackboneError)
        check_number("channels", channels, minimum=1, kind=BackboneError)
        if min((image_size,) if isinstance(image_size, int) else image_size) < 4:
            raise refused("image_size", image_size, "expected at least 4 pixels", BackboneError)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 32, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(32, track_running_stats=False),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            BasicBlock(32, 64, 1), BasicBlock(64, 128, 2), BasicBlock(128, 128, 1)
        )
        self.linear = EqualLinear(128, ways)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Computes logits: (B, channels, H, W) to (B, ways)."""
        logits: torch.Tensor = self.linear(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits
