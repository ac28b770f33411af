"""conv4, the four-block network of prototypical networks."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot.backbones.heads import EqualLinear
from l2l_omniglot.errors import BackboneError, check_number, refused

SMALLEST = 16  # pixels: four times halved, one is left


def check_sides(image_size: int | tuple[int, int]) -> None:
    """Refuses images of which nothing is left when they are four times halved.

    Raises:
        BackboneError: if a side has fewer than 16 pixels.
    """
    if min((image_size,) if isinstance(image_size, int) else image_size) < SMALLEST:
        raise refused("image_size", image_size, f"expected at least {SMALLEST}", BackboneError)


def conv_block(channels: int, filters: int) -> nn.Sequential:
    """Returns convolution 3x3 of stride 1, batch normalisation, 2x2 max-pool and ReLU.

    From (B, channels, H, W) to (B, filters, H / 2, W / 2).
    """
    # After the normalisation ReLU and max-pool commute; pooling first is cheaper.
    return nn.Sequential(
        nn.Conv2d(channels, filters, kernel_size=3, padding=1),
        nn.BatchNorm2d(filters, track_running_stats=False),
        nn.MaxPool2d(2),
        nn.ReLU(),
    )


class Conv4(nn.Module):
    """Four blocks of 64 filters, stride 1 with max-pool (Vinyals et al. 2016; Snell et al. 2017).

    The embedding is the mean over the pixels that are left: of 28 pixels one, so it has 64
    features for images of any size.

    Args:
        ways: number of classes, at least 2.
        channels: of the images.
        image_size: pixels, at least 16; one number, or (height, width).
        filters: of each block.

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
        filters: int = 64,
        **_: object,
    ) -> None:
        super().__init__()
        check_number("ways", ways, minimum=2, kind=BackboneError)
        check_number("channels", channels, minimum=1, kind=BackboneError)
        check_sides(image_size)
        self.blocks = nn.Sequential(
            conv_block(channels, filters), *(conv_block(filters, filters) for _ in range(3))
        )
        self.linear = EqualLinear(filters, ways)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Computes logits: (B, channels, H, W) to (B, ways)."""
        logits: torch.Tensor = self.linear(self.blocks(images).mean(dim=(2, 3)))
        return logits
