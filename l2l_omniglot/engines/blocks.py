"""Convolution, batch normalisation, ReLU and 2x2 max-pool in a row, computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.functional import relu

from l2l_omniglot.engines.convolution import FEW_PRODUCTS, convolve
from l2l_omniglot.engines.layers import (
    StackedBatchNorm,
    StackedConv2d,
    channels_last,
    moments,
    spread,
)
from l2l_omniglot.engines.pooling import pool, pool_products
from l2l_omniglot.engines.windows import Windows, product_variance, window_statistics

Step: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class StackedSequential(nn.Sequential):
    """Of `nn.Sequential`, with the blocks among its layers computed as such.

    A block is a convolution, then batch normalisation, ReLU and a 2x2 max-pool, in any order
    but for a ReLU between normalisation and what it normalises: the convolution's output, or
    the ReLU of that.

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
        """As the original, for (T * B, ...)."""
        for step in self._steps:
            batch = step(batch)
        return batch


def _steps(layers: list[nn.Module]) -> Iterator[Step]:
    """The layers, or four of them at a time where they make a block."""
    while layers:
        block = _find_block(layers[:4])
        yield block or layers[0]
        layers = layers[4 if block else 1 :]


def _find_block(layers: list[nn.Module]) -> StackedBlock | None:
    """The block that the layers make; None where they make none."""
    kinds = [type(layer) for layer in layers]
    pools = [layer for layer in layers if isinstance(layer, nn.MaxPool2d) and _halves(layer)]
    if kinds not in _BLOCKS or not pools:
        return None
    conv, norm = layers[0], layers[kinds.index(StackedBatchNorm)]
    assert isinstance(conv, StackedConv2d) and isinstance(norm, StackedBatchNorm)
    return StackedBlock(conv, norm, kinds[1] is nn.ReLU) if norm.affine else None


_BLOCKS: list[list[type[nn.Module]]] = [
    [StackedConv2d, StackedBatchNorm, nn.ReLU, nn.MaxPool2d],
    [StackedConv2d, StackedBatchNorm, nn.MaxPool2d, nn.ReLU],
    [StackedConv2d, nn.ReLU, StackedBatchNorm, nn.MaxPool2d],
]


def _halves(layer: nn.MaxPool2d) -> bool:
    """Whether it takes the maxima of 2x2 windows side by side."""
    found = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    plain = [value if isinstance(value, int) else tuple(value) for value in found]
    wanted = ((2, (2, 2)), (2, (2, 2)), (0, (0, 0)), (1, (1, 1)))
    fits = all(value in values for value, values in zip(plain, wanted, strict=True))
    return fits and not layer.ceil_mode and not layer.return_indices


class StackedBlock:
    """Normalises after the pooling instead of before.

    Normalisation is monotone in each channel, so it commutes with the maximum (with the
    minimum, where its scale is negative): a quarter of the pixels is left to normalise. A bias
    before the normalisation cancels. Statistics of a convolution with few inputs come from the
    covariance of its windows, without a pass over its output.

    Args:
        conv: the convolution.
        norm: the normalisation, with scale and shift.
        relu_first: ReLU before the normalisation instead of after it.
    """

    def __init__(self, conv: StackedConv2d, norm: StackedBatchNorm, relu_first: bool) -> None:
        self.conv, self.norm, self.relu_first = conv, norm, relu_first
        self._known: list[tuple[torch.Tensor, Windows]] = []

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """(T * B, channels, H, W) to (T * B, filters, H', W')."""
        images = batch.permute(0, 2, 3, 1).unflatten(0, (self.conv.tasks, -1))
        scale, shift = self.norm.weight, self.norm.bias
        assert scale is not None and shift is not None
        sign = None
        if scale.is_cuda or bool((scale < 0).any()):
            sign = torch.where(scale.detach() < 0, -1.0, 1.0).to(scale)
            scale = scale * sign
        if not self.relu_first and self.conv.bias is not None:
            shift = shift + 0 * self.conv.bias  # its gradient is zero, but it has one
        pooled, variance, mean = self._pool(images, sign)
        out = self.norm.normalise(pooled, variance, mean, scale, shift)
        out = out if self.relu_first else relu(out)
        return out.flatten(0, 1).permute(0, 3, 1, 2)

    def _pool(
        self, images: torch.Tensor, sign: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Pooled maps times `sign`, and the maps' variance and mean (None: 0); (T, filters)."""
        geometry = self.conv.geometry(images)
        weight = channels_last(self.conv.weight)
        if self.relu_first:
            maps = convolve(images, weight, geometry)
            if self.conv.bias is not None:
                maps = maps + self.conv.bias[:, None, None, None]
            maps = relu(maps)
            maps = maps if sign is None else maps * spread(sign, maps)
            return pool(maps), *self.norm.moments(lambda: moments(maps))
        if sign is not None:
            weight = weight * sign[:, :, None, None, None]
        if images.requires_grad or weight[0, 0].numel() > FEW_PRODUCTS:
            maps = convolve(images, weight, geometry)
            return pool(maps), *self.norm.moments(lambda: moments(maps))
        seen, weights = self._windows(images), weight.flatten(2).transpose(1, 2)
        pooled = pool_products(seen.corners, weights).unflatten(1, seen.shape)
        if self.norm.book is None:
            return pooled, product_variance(seen.covariance, weights), None
        off = torch.bmm(seen.mean[:, None], weights)[:, 0]  # what pooled lacks
        own = product_variance(seen.covariance, weights), off
        variance, mean = self.norm.moments(lambda: own)
        return pooled, variance, mean - off

    def _windows(self, images: torch.Tensor) -> Windows:
        """What the products of images need; of the last two batches it is still known.

        An inner loop comes back to its support and its query set after every step.
        """
        for known, seen in self._known:  # held, so that no other tensor can be in their place
            same = known.data_ptr() == images.data_ptr() and known._version == images._version
            if same and known.shape == images.shape and known.stride() == images.stride():
                return seen
        found = window_statistics(images, self.conv.geometry(images))
        self._known = [*self._known[-1:], (images, found)]
        return found
