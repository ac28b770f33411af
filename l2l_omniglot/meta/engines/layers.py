"""Layers for T tasks side by side, each with its own weights.

The images of all tasks are one batch, (T * B, ...), task by task. Only layers with parameters and
batch normalisation must know where one task ends; what treats every image alone works as it is.
A stacked layer has its original's parameters by the same names, each with a leading T, set before
every use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, vmap

from l2l_omniglot.backbones.batch_norm import Moments, Source, scale_and_shift
from l2l_omniglot.meta.engines.convolution import Geometry, convolve


class StackedLayer(nn.Module):
    """A layer for T tasks.

    Attributes:
        tasks: T, set before each use.
        names: of the original's parameters, set before each use (None if it has none).
    """

    names: tuple[str, ...] = ("weight", "bias")
    tasks: int

    def by_task(self, batch: torch.Tensor) -> torch.Tensor:
        """Views (T * B, ...) as (T, B, ...)."""
        tasks: torch.Tensor = batch.unflatten(0, (self.tasks, -1))
        return tasks


class StackedConv2d(StackedLayer):
    """An `nn.Conv2d` without dilation, groups or other padding than zeros."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = layer.kernel_size, layer.stride, layer.padding

    def cast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Rounds images or weights to bfloat16 once, under autocast."""
        half = torch.is_autocast_enabled(tensor.device.type)
        return tensor.to(torch.bfloat16) if half else tensor

    def geometry(self, images: torch.Tensor) -> Geometry:
        """Returns the sizes for images (T, B, H, W, channels)."""
        return Geometry(tuple(images.shape[2:4]), self.kernel, self.stride, self.padding)  # type: ignore[arg-type]

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes (T * B, filters, H', W') of (T * B, channels, H, W)."""
        images = self.cast(self.by_task(batch.permute(0, 2, 3, 1)))
        maps = convolve(images, self.cast(channels_last(self.weight)), self.geometry(images))
        if self.bias is not None:
            maps = maps + self.bias[:, None, None, None]
        return maps.flatten(0, 1).permute(0, 3, 1, 2)


class StackedLinear(StackedLayer):
    """An `nn.Linear`."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes (T * B, ..., out) of (T * B, ..., features)."""
        rows = self.by_task(batch).flatten(1, -2)
        products = torch.bmm(rows, self.weight.transpose(1, 2))
        if self.bias is not None:
            products = products + self.bias[:, None]
        return products.reshape(*batch.shape[:-1], -1)


class VmappedLayer(StackedLayer):
    """Any other layer with parameters, mapped over the tasks by torch."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.names, self.layer = tuple(dict(layer.named_parameters())), layer

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes (T * B, ...) of (T * B, ...)."""
        weights = {name: getattr(self, name) for name in self.names}
        found: torch.Tensor = vmap(partial(functional_call, self.layer))(
            weights, self.by_task(batch)
        )
        return found.flatten(0, 1)


class StackedBatchNorm(StackedLayer):
    """Batch normalisation by the statistics of each task's own batch."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(self, eps: float, affine: bool) -> None:
        super().__init__()
        self.eps, self.affine = eps, affine
        self.source: Source | None = None

    def moments(self, own: Callable[[], Moments], bias: torch.Tensor | None = None) -> Moments:
        """Returns the variance and mean to normalise by: the source's, else the batch's own.

        Args:
            own: computes those of the values without the bias; (T, channels) each.
            bias: (T, channels).
        """
        if self.source is None or bias is None:
            return own() if self.source is None else self.source(own)

        def whole() -> Moments:
            variance, mean = own()
            return variance, mean + bias

        variance, mean = self.source(whole)
        return variance, mean - bias

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Normalises (T * B, channels, ...)."""
        values = self.by_task(batch.movedim(1, -1))
        found = self.moments(lambda: moments(values))
        normed = self.normalise(values, *found, self.weight, self.bias)
        return normed.flatten(0, 1).movedim(-1, 1)

    def normalise(
        self,
        values: torch.Tensor,
        variance: torch.Tensor,
        mean: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """Normalises (T, B, ..., channels) by moments (T, channels)."""
        scale, shift = scale_and_shift(variance, mean, weight, bias, self.eps)
        return torch.addcmul(spread(shift, values), values, spread(scale, values))


def moments(values: torch.Tensor) -> Moments:
    """Computes biased variance and mean of (T, ..., channels): each (T, channels).

    Those of values in bfloat16 are in float32.
    """
    rows = single(values.flatten(1, -2))
    mean = rows.mean(dim=1)  # in two passes: torch.var_mean takes three times as long
    return (rows - mean[:, None]).square().mean(dim=1), mean


def single(tensor: torch.Tensor) -> torch.Tensor:
    """Widens bfloat16 to float32."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def spread(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Views (T, channels) so that it broadcasts over (T, ..., channels)."""
    return value.view(value.shape[0], *(1,) * (like.ndim - 2), value.shape[1])


def channels_last(weight: torch.Tensor) -> torch.Tensor:
    """Views (T, filters, channels, height, width) as (T, filters, height, width, channels)."""
    return weight.permute(0, 1, 3, 4, 2)


def make_stacked(layer: nn.Module) -> StackedLayer | None:
    """Returns the stacked form of a layer, or None if there is none."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        return StackedConv2d(layer) if type(layer) is nn.Conv2d and _plain(layer) else None
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        known = type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d)
        return StackedBatchNorm(layer.eps, layer.affine) if known else None
    if type(layer) is nn.Linear:
        return StackedLinear()
    has_own = any(True for _ in layer.named_parameters(recurse=False))
    return VmappedLayer(layer) if has_own and not layer._modules else None


def _plain(layer: nn.Conv2d) -> bool:
    simple = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return simple and not isinstance(layer.padding, str)
