"""BaseNet, the tutorial's network."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from l2l_omniglot.backbones.heads import EqualLinear
from l2l_omniglot.errors import BackboneError, check_choice, check_number, refused

Initialisation: TypeAlias = Literal["zero", "tutorial"]


def conv_block(channels: int, filters: int, relu_first: bool = False) -> nn.Sequential:
    """Returns convolution 3x3 (stride 2, padding 2), batch normalisation, ReLU and 2x2 max-pool.

    Batch normalisation always uses the statistics of the batch at hand and keeps none, so
    nothing leaks from task to task. With `relu_first` (the tutorial's fourth block) ReLU comes
    before it. From (B, channels, H, W) to (B, filters, H', W').
    """
    layers = {
        "conv": nn.Conv2d(channels, filters, kernel_size=3, stride=2, padding=2),
        "norm": nn.BatchNorm2d(filters, track_running_stats=False),
        "pool": nn.MaxPool2d(2),
        "relu": nn.ReLU(),
    }
    # After the normalisation ReLU and max-pool commute: pooling first leaves ReLU a quarter of
    # the work.
    order = ("conv", "relu", "norm", "pool") if relu_first else ("conv", "norm", "pool", "relu")
    return nn.Sequential(OrderedDict((name, layers[name]) for name in order))


class BaseNet(nn.Module):
    """Four convolution blocks and a linear layer: 112,261 parameters for 5 ways.

    Parameters are in the order of the forward pass: of each block convolution weight and bias,
    normalisation scale and shift; then the linear layer's weight and bias.

    Args:
        ways: number of classes, at least 2.
        channels: of the images.
        image_size: pixels; one number, or (height, width).
        filters: of each block.
        init: of the linear layer's weight; ``tutorial`` is all ones, ``zero`` all zeros. With
            either, every class starts with the same logit, so accuracy before adaptation is
            exactly 1 / ways. Convolutions are Kaiming normal, all biases zero.

    Raises:
        BackboneError: if `ways`, `channels` or `image_size` is too small or `init` is unknown.

    Shape:
        float32 (B, channels, H, W) to logits (B, ways).
    """

    def __init__(
        self,
        ways: int = 5,
        channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        filters: int = 64,
        init: Initialisation = "zero",
        **_: object,
    ) -> None:
        super().__init__()
        check_number("ways", ways, minimum=2, kind=BackboneError)
        check_number("channels", channels, minimum=1, kind=BackboneError)
        check_choice("init", init, get_args(Initialisation), kind=BackboneError)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width) < 1:
            raise refused("image_size", image_size, "expected at least 1 pixel", BackboneError)
        self.block1 = conv_block(channels, filters)
        self.block2 = conv_block(filters, filters)
        self.block3 = conv_block(filters, filters)
        self.block4 = conv_block(filters, filters, relu_first=True)
        features = filters * _size_after_blocks(height) * _size_after_blocks(width)
        self.linear = EqualLinear(features, ways)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.linear.weight, 1.0 if init == "tutorial" else 0.0)
        nn.init.zeros_(self.linear.bias)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Computes the linear layer's input: (B, channels, H, W) to (B, features)."""
        hidden: torch.Tensor = self.block4(self.block3(self.block2(self.block1(images))))
        return hidden.flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Computes logits: (B, channels, H, W) to (B, ways)."""
        logits: torch.Tensor = self.linear(self.features(images))
        return logits


def _size_after_blocks(size: int) -> int:
    for _ in range(4):
        size = ((size + 2 * 2 - 3) // 2 + 1) // 2
    return size
