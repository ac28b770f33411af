"""learn2learn's own Omniglot networks as backbones, registered as any plugin's would be."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.backbones.conv4 import check_sides


def cnn4(
    *, ways: int, channels: int = 1, image_size: int | tuple[int, int] = 28, **_: object
) -> nn.Module:
    """Builds learn2learn's OmniglotCNN: four 3x3 stride-2 convolutions of 64, mean over the pixels.

    The network of Finn et al. 2017, section 5.2. learn2learn fixes it to one channel and 28
    pixels; other sizes get the same layers without that restriction.

    Shape:
        float32 (B, channels, H, W) to logits (B, ways).
    """
    network: nn.Module = l2l.vision.models.OmniglotCNN(output_size=ways)
    if (channels, image_size) != (1, 28):
        base = l2l.vision.models.ConvBase(hidden=64, channels=channels, max_pool=False)
        network.base, network.features = base, nn.Sequential(base, _MeanOverPixels())
    return network


def fc(
    *, ways: int, channels: int = 1, image_size: int | tuple[int, int] = 28, **_: object
) -> nn.Module:
    """Builds learn2learn's OmniglotFC: hidden layers of 256, 128, 64, 64 with batch normalisation.

    Shape:
        float32 (B, channels, H, W) to logits (B, ways).
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    network: nn.Module = l2l.vision.models.OmniglotFC(channels * height * width, ways)
    return network


def resnet12(
    *, ways: int, channels: int = 1, image_size: int | tuple[int, int] = 28, **_: object
) -> nn.Module:
    """Builds learn2learn's ResNet12: residual blocks of 64, 160, 320 and 640, mean over the pixels.

    The network of Lee et al. 2019 (MetaOptNet) for 84 x 84 pixels in colour, without DropBlock,
    whose masks would make support and query set of a task two networks.

    Raises:
        BackboneError: if a side has fewer than 16 pixels: four times halved, one is left.

    Shape:
        float32 (B, channels, H, W) to logits (B, ways).
    """
    check_sides(image_size)
    network: nn.Module = l2l.vision.models.ResNet12(ways, channels=channels, dropblock_dropout=0.0)
    features = network.get_submodule("features")
    features.avgpool = _MeanOverPixels()  # learn2learn's is of 5 x 5, for 84 alone
    return network


class _MeanOverPixels(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Averages (B, channels, H, W) to (B, channels)."""
        return maps.mean(dim=(2, 3))
