"""Computes convolution, batch normalisation, ReLU and 2x2 max-pooling together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.functional import relu

from l2l_omniglot.backbones.batch_norm import Moments
from l2l_omniglot.meta.engines.convolution import FEW_PRODUCTS, convolve, products, windows
from l2l_omniglot.meta.engines.layers import (
    StackedBatchNorm,
    StackedConv2d,
    channels_last,
    moments,
    single,
    spread,
)
from l2l_omniglot.meta.engines.pooling import pool

Step: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class StackedSequential(nn.Sequential):
    """An `nn.Sequential` that finds the blocks among its layers and computes them as such.

    A block is a convolution, then batch normalisation, ReLU and a 2x2 max-pool, in one of the
    orders of `_BLOCKS`.

    Args:
        layers: by name, already stacked.
        training: the original's mode.
    """

    def __init__(self, layers: dict[str, nn.Module], training: bool) -> None:
        super().__init__()
        self.training = training
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._steps = list(_steps(list(layers.values())))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Passes (T * B, ...) through the layers."""
        for step in self._steps:
            batch = step(batch)
        return batch


def _steps(layers: list[nn.Module]) -> Iterator[Step]:
    """Yields the layers, or one block for four of them."""
    while layers:
        block = _find_block(layers[:4])
        yield block or layers[0]
        layers = layers[4 if block else 1 :]


def _find_block(layers: list[nn.Module]) -> StackedBlock | None:
    kinds = [type(layer) for layer in layers]
    if kinds not in _BLOCKS or not _halves(layers[kinds.index(nn.MaxPool2d)]):
        return None
    conv, norm = layers[0], layers[kinds.index(StackedBatchNorm)]
    assert isinstance(conv, StackedConv2d) and isinstance(norm, StackedBatchNorm)
    return StackedBlock(conv, norm, kinds[1] is nn.ReLU) if norm.affine else None


_BLOCKS: list[list[type[nn.Module]]] = [
    [StackedConv2d, StackedBatchNorm, nn.ReLU, nn.MaxPool2d],
    [StackedConv2d, StackedBatchNorm, nn.MaxPool2d, nn.ReLU],
    [StackedConv2d, nn.ReLU, StackedBatchNorm, nn.MaxPool2d],
]


def _halves(pool: Any) -> bool:
    """Returns whether a max-pool takes the maxima of 2x2 windows side by side."""
    found = pool.kernel_size, pool.stride, pool.padding, pool.dilation
    pairs = [(value, value) if isinstance(value, int) else tuple(value) for value in found]
    plain = pairs == [(2, 2), (2, 2), (0, 0), (1, 1)]
    return plain and not pool.ceil_mode and not pool.return_indices


class StackedBlock:
    """Computes a block, with the normalisation after the pooling instead of before.

    Normalisation is monotone in each channel, so it commutes with the maximum (with the
    minimum, if its scale is negative): a quarter of the pixels is left to normalise. A bias
    before the normalisation cancels. Moments of a convolution with few inputs come from those
    of its windows, without a pass over its output.

    Args:
        conv: the convolution.
        norm: the normalisation, with scale and shift.
        relu_first: ReLU before the normalisation instead of after it.
    """

    def __init__(self, conv: StackedConv2d, norm: StackedBatchNorm, relu_first: bool) -> None:
        self.conv, self.norm, self.relu_first = conv, norm, relu_first

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes (T * B, filters, H', W') of (T * B, channels, H, W)."""
        images = self.conv.cast(self.conv.by_task(batch.permute(0, 2, 3, 1)))
        scale, shift, bias = self.norm.weight, self.norm.bias, self.conv.bias
        assert scale is not None and shift is not None
        maps, of_products = self._convolve(images)
        if self.relu_first:
            maps = relu(maps if bias is None else maps + bias[:, None, None, None])
        elif bias is not None:
            shift = shift + 0 * bias  # its gradient is zero, but it has one
        own = (lambda: moments(maps)) if self.relu_first else of_products
        lacking = None if self.relu_first else bias
        variance, mean = self.norm.moments(own, lacking)
        out = self.norm.normalise(pool(maps, scale.detach()), variance, mean, scale, shift)
        out = out if self.relu_first else relu(out)
        return out.flatten(0, 1).permute(0, 3, 1, 2)

    def _convolve(self, images: torch.Tensor) -> tuple[torch.Tensor, Callable[[], Moments]]:
        """Computes maps (T, B, H', W', filters) without the bias, and how to get their moments."""
        geometry = self.conv.geometry(images)
        weight = self.conv.cast(channels_last(self.conv.weight))
        if weight[0, 0].numel() > FEW_PRODUCTS:
            maps = convolve(images, weight, geometry)
            return maps, lambda: moments(maps)
        seen = windows(images, geometry)
        return products(seen, weight), lambda: product_moments(seen, weight.flatten(2))


def product_moments(seen: torch.Tensor, weight: torch.Tensor) -> Moments:
    """Computes variance and mean of products of windows (T, B, ..., K) and weights (T, filters, K).

    The covariance of the windows is summed in float64: the gradient of a normalised product is
    a small difference of large numbers.
    """
    with torch.autocast(seen.device.type, enabled=False):
        by_image, weight = single(seen.flatten(2, -2)), single(weight)
        mean = by_image.mean(dim=(1, 2))
        centred = (by_image - spread(mean, by_image)).flatten(0, 1)
        squares = torch.bmm(centred.transpose(1, 2), centred).unflatten(0, by_image.shape[:2])
        covariance, wide = squares.double().mean(dim=1) / by_image.shape[2], weight.double()
        variance = (torch.bmm(wide, covariance) * wide).sum(dim=2)
        return variance.to(weight.dtype), torch.bmm(weight, mean[:, :, None])[:, :, 0]
