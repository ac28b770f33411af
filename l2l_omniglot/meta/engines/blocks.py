"""Computes convolution, batch normalisation, ReLU and 2x2 max-pooling together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import relu

from l2l_omniglot.backbones.passes import present
from l2l_omniglot.meta.engines.convolution import FEW_PRODUCTS, convolve, products, windows
from l2l_omniglot.meta.engines.layers import (
    StackedConv2d,
    StackedNorm,
    channels_last,
    moments,
    single,
    spread,
)
from l2l_omniglot.meta.engines.pooling import pool


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
        # By name: a learn2learn clone has other layers.
        self._steps = list(_steps(list(layers), list(layers.values())))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Passes (T * B, ...) through the layers."""
        for names in self._steps:
            layers: list[Any] = [self._modules[name] for name in names]
            batch = layers[0](batch) if len(layers) == 1 else block(layers, batch)
        return batch


def _steps(names: list[str], layers: list[nn.Module]) -> Iterator[list[str]]:
    """Yields the names of layers one by one, or of four if they are a block."""
    while names:
        count = 4 if _is_block(layers[:4]) else 1
        yield names[:count]
        names, layers = names[count:], layers[count:]


def _is_block(layers: list[nn.Module]) -> bool:
    kinds = [type(layer) for layer in layers]
    if kinds not in _BLOCKS or not _halves(layers[kinds.index(nn.MaxPool2d)]):
        return False
    return layers[kinds.index(StackedNorm)].weight is not None


_BLOCKS: list[list[type[nn.Module]]] = [
    [StackedConv2d, StackedNorm, nn.ReLU, nn.MaxPool2d],
    [StackedConv2d, StackedNorm, nn.MaxPool2d, nn.ReLU],
    [StackedConv2d, nn.ReLU, StackedNorm, nn.MaxPool2d],
]


def _halves(pool: Any) -> bool:
    """Returns whether a max-pool takes the maxima of 2x2 windows side by side."""
    options = pool.kernel_size, pool.stride, pool.padding, pool.dilation
    pairs = [(value, value) if isinstance(value, int) else tuple(value) for value in options]
    plain = pairs == [(2, 2), (2, 2), (0, 0), (1, 1)]
    return plain and not pool.ceil_mode and not pool.return_indices


def block(layers: list[Any], batch: torch.Tensor) -> torch.Tensor:
    """Computes a block, with the normalisation after the pooling instead of before.

    Normalisation is monotone in each channel, so it commutes with the maximum (with the
    minimum, if its scale is negative): a quarter of the pixels is left to normalise. A bias
    before the normalisation cancels. Moments of a convolution with few inputs come from those
    of its windows, without a pass over its output.

    Args:
        layers: one of `_BLOCKS`.
        batch: (T * B, channels, H, W).

    Returns:
        (T * B, filters, H', W').
    """
    relu_first = type(layers[1]) is nn.ReLU
    conv, norm = layers[0], layers[2 if relu_first else 1]
    images = conv.cast(conv.by_task(batch.permute(0, 2, 3, 1)))
    scale, shift, bias = norm.weight, norm.bias, conv.bias
    maps, seen, weight = _convolve(conv, images)
    if relu_first:
        maps, seen = relu(maps if bias is None else maps + bias[:, None, None, None]), None
        bias = None
    elif bias is not None:
        shift = shift + 0 * bias  # its gradient is zero, but it has one
    now = present()
    statistics = now.recall(norm.name)
    if statistics is None:
        variance, mean = moments(maps) if seen is None else product_moments(seen, weight)
        if now.recorded is not None:  # with the bias, which the maps here lack
            whole = mean if bias is None else mean + bias
            now.note(norm.name, torch.stack([variance, whole]))
    else:
        variance, mean = statistics if bias is None else (statistics[0], statistics[1] - bias)
    out = norm.normalise(pool(maps, scale.detach()), variance, mean, scale, shift)
    out = out if relu_first else relu(out)
    return out.flatten(0, 1).permute(0, 3, 1, 2)


def _convolve(
    conv: StackedConv2d, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Computes maps (T, B, H', W', filters) without the bias.

    Returns them, the windows that they are products of, if so, and the weight.
    """
    geometry = conv.geometry(images)
    weight = conv.cast(channels_last(conv.weight))
    if weight[0, 0].numel() > FEW_PRODUCTS:
        return convolve(images, weight, geometry), None, weight
    seen = windows(images, geometry)
    return products(seen, weight), seen, weight.flatten(2)


def product_moments(seen: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Computes variance over mean, (2, T, filters), of the products of windows and weights.

    These are (T, B, ..., K) and (T, filters, K). The covariance of the windows is summed in
    float64: the gradient of a normalised product is a small difference of large numbers.
    """
    with torch.autocast(seen.device.type, enabled=False):
        by_image, weight = single(seen.flatten(2, -2)), single(weight)
        mean = by_image.mean(dim=(1, 2))
        centred = (by_image - spread(mean, by_image)).flatten(0, 1)
        squares = torch.bmm(centred.transpose(1, 2), centred).unflatten(0, by_image.shape[:2])
        covariance, wide = squares.double().mean(dim=1) / by_image.shape[2], weight.double()
        variance = (torch.bmm(wide, covariance) * wide).sum(dim=2)
        means = torch.bmm(weight, mean[:, :, None])[:, :, 0]
        return torch.stack([variance.to(weight.dtype), means])
