"""Twins of layers, for T tasks side by side: task t's images meet task t's weights.

The images of all tasks come as one batch, (T * B, ...), task by task. Layers without
parameters, and code that treats every image alone, work on that batch as they are; only the
layers with parameters, and batch normalisation, must know where one task ends. A twin has the
parameters of its original by the same names, each with a leading T, set before every use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import relu

from l2l_omniglot.backbones.basenet import ConvBlock, EqualLinear
from l2l_omniglot.backbones.batch_norm import Moments, Source, scale_and_shift
from l2l_omniglot.meta.engines.convolution import FEW_PRODUCTS, Geometry, convolve
from l2l_omniglot.meta.engines.pooling import pool, pool_products
from l2l_omniglot.meta.engines.seen import Seen, look, moments, product_variance, spread

Maker = Callable[[Any], "nn.Module | None"]
M = TypeVar("M", bound=Maker)


class Twin(nn.Module):
    """A layer for T tasks.

    Attributes:
        tasks: T, set before each use.
        names: of the original's parameters, set before each use, with a leading T (None where
            the original has none).
    """

    names = ("weight", "bias")
    tasks: int

    def by_task(self, batch: torch.Tensor) -> torch.Tensor:
        """(T * B, ...) as (T, B, ...)."""
        return batch.view(self.tasks, -1, *batch.shape[1:])


class TwinConv2d(Twin):
    """Of `nn.Conv2d` without dilation, groups or other padding than zeros."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = layer.kernel_size, layer.stride, layer.padding

    def geometry(self, images: torch.Tensor) -> Geometry:
        """For images (T, B, H, W, channels)."""
        return Geometry(tuple(images.shape[2:4]), self.kernel, self.stride, self.padding)  # type: ignore[arg-type]

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(T * B, channels, H, W) to (T * B, filters, H', W')."""
        images = self.by_task(batch.permute(0, 2, 3, 1))
        maps = convolve(images, channels_last(self.weight), self.geometry(images))
        if self.bias is not None:
            maps = maps + self.bias[:, None, None, None]
        return maps.flatten(0, 1).permute(0, 3, 1, 2)


class TwinLinear(Twin):
    """Of `nn.Linear`."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(T * B, ..., features) to (T * B, ..., out)."""
        rows = self.by_task(batch).flatten(1, -2)
        products = torch.bmm(rows, self.weight.transpose(1, 2))
        if self.bias is not None:
            products = products + self.bias[:, None]
        return products.reshape(*batch.shape[:-1], -1)


class TwinEqualLinear(Twin):
    """Of BaseNet's last layer."""

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(T * B, features) to (T * B, ways)."""
        products = self.by_task(batch)[:, :, None] * self.weight[:, None]
        return (products.sum(dim=3) + self.bias[:, None]).flatten(0, 1)


class TwinBatchNorm(Twin):
    """Of batch normalisation by the statistics of each task's own batch."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.eps = layer.eps
        self.source: Source | None = None

    def moments(
        self,
        own: Callable[[], Moments],
        sign: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> Moments:
        """The variance and mean by which to normalise: the source's, else the batch's own.

        Args:
            own: those of values that are (batch - bias) * sign; (T, channels) each.
            sign: 1 or -1, of each channel.
            bias: of each channel.
        """
        if self.source is None:
            return own()
        one = 1.0 if sign is None else sign
        lacking = 0.0 if bias is None else bias

        def whole() -> Moments:
            variance, mean = own()
            return variance, mean * one + lacking

        variance, mean = self.source(whole)
        return variance, (mean - lacking) * one

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(T * B, channels, ...) to the same shape."""
        values = self.by_task(batch.movedim(1, -1))
        found = self.moments(lambda: moments(values))
        normed = self.normalise(values, *found, self.weight, self.bias)
        return normed.flatten(0, 1).movedim(-1, 1)

    def normalise(
        self,
        values: torch.Tensor,
        variance: torch.Tensor,
        mean: torch.Tensor | None,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """(T, B, ..., channels) by moments (T, channels); a mean of None is 0."""
        scale, shift = scale_and_shift(variance, mean, weight, bias, self.eps)
        return torch.addcmul(spread(shift, values), values, spread(scale, values))


class TwinConvBlock(nn.Module):
    """Of BaseNet's `ConvBlock`, normalising after the pooling instead of before.

    Normalisation is monotone in each channel, so it commutes with the maximum (with the
    minimum, where its scale is negative): a quarter of the pixels is left to normalise. A bias
    before the normalisation cancels. Statistics of a convolution with few inputs come from the
    covariance of what it sees, without a pass over its output.
    """

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        self.conv, self.norm = TwinConv2d(block.conv), TwinBatchNorm(block.norm)
        self.relu_first = block.relu_first
        self._known: list[tuple[torch.Tensor, Seen]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
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
            bias = self.conv.bias
            assert bias is not None
            maps = relu(convolve(images, weight, geometry) + bias[:, None, None, None])
            maps = maps if sign is None else maps * spread(sign, maps)
            return pool(maps), *self.norm.moments(lambda: moments(maps), sign)
        if sign is not None:
            weight = weight * sign[:, :, None, None, None]
        if images.requires_grad or weight[0, 0].numel() > FEW_PRODUCTS:
            maps = convolve(images, weight, geometry)
            return pool(maps), *self.norm.moments(lambda: moments(maps), sign, self.conv.bias)
        seen, weights = self._look(images), weight.flatten(2).transpose(1, 2)
        pooled = pool_products(seen.corners, weights).unflatten(1, seen.shape)
        if self.norm.source is None:
            return pooled, product_variance(seen.covariance, weights), None
        off = torch.bmm(seen.mean[:, None], weights)[:, 0]  # what pooled lacks
        own = product_variance(seen.covariance, weights), off
        variance, mean = self.norm.moments(lambda: own, sign, self.conv.bias)
        return pooled, variance, mean - off

    def _look(self, images: torch.Tensor) -> Seen:
        """What the products of images need; of the last two batches it is still known.

        An inner loop comes back to its support and its query set after every step.
        """
        for known, seen in self._known:  # held, so that no other tensor can be in their place
            same = known.data_ptr() == images.data_ptr() and known._version == images._version
            if same and known.shape == images.shape and known.stride() == images.stride():
                return seen
        found = look(images, self.conv.geometry(images))
        self._known = [*self._known[-1:], (images, found)]
        return found


def channels_last(weight: torch.Tensor) -> torch.Tensor:
    """(T, filters, channels, height, width) as (T, filters, height, width, channels)."""
    return weight.permute(0, 1, 3, 4, 2)


_MAKERS: dict[type[nn.Module], Maker] = {}


def twin_of(*kinds: type[nn.Module]) -> Callable[[M], M]:
    """Registers a maker of twins for layers of exactly these classes."""

    def register(maker: M) -> M:
        _MAKERS.update(dict.fromkeys(kinds, maker))
        return maker

    return register


def make_twin(layer: nn.Module) -> nn.Module | None:
    """The twin of a layer; None where there is none."""
    maker = _MAKERS.get(type(layer))
    return maker(layer) if maker else None


@twin_of(nn.Conv2d)
def _conv2d(layer: nn.Conv2d) -> nn.Module | None:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return TwinConv2d(layer) if plain and not isinstance(layer.padding, str) else None


@twin_of(nn.BatchNorm1d, nn.BatchNorm2d)
def _batch_norm(layer: nn.BatchNorm2d) -> nn.Module | None:
    return TwinBatchNorm(layer)


@twin_of(nn.Linear)
def _linear(_layer: nn.Linear) -> nn.Module | None:
    return TwinLinear()


@twin_of(EqualLinear)
def _equal_linear(_layer: EqualLinear) -> nn.Module | None:
    return TwinEqualLinear()


@twin_of(ConvBlock)
def _conv_block(block: ConvBlock) -> nn.Module | None:
    return TwinConvBlock(block)
