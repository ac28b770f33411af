"""Layers for T tasks side by side, each with its own weights.

The images of all tasks are one batch, (T * B, ...), task by task. Only layers with parameters and
batch normalisation must know where one task ends; what treats every image alone works as it is.
A stacked layer has its original's parameters; a clone that computes has T copies of each.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, vmap

from l2l_omniglot.backbones.batch_norm import Norm, scale_and_shift
from l2l_omniglot.backbones.heads import Head, is_watched, logits_of, watch
from l2l_omniglot.backbones.passes import present
from l2l_omniglot.meta.engines.convolution import Geometry, convolve


class StackedLayer(nn.Module):
    """A layer for T tasks.

    Args:
        layer: the original, whose parameters it has.

    Attributes:
        tasks: T, set in a clone.
        weight, bias: most layers', in a clone with a leading T.
    """

    tasks: int
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._parameters = dict(layer._parameters)

    def by_task(self, batch: torch.Tensor) -> torch.Tensor:
        """Views (T * B, ...) as (T, B, ...)."""
        tasks: torch.Tensor = batch.unflatten(0, (self.tasks, -1))
        return tasks


class StackedConv2d(StackedLayer):
    """An `nn.Conv2d` without dilation, groups or other padding than zeros."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
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

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes (T * B, ..., out) of (T * B, ..., features)."""
        rows = self.by_task(batch).flatten(1, -2)
        products = torch.bmm(rows, self.weight.transpose(1, 2))
        if self.bias is not None:
            products = products + self.bias[:, None]
        return products.reshape(*batch.shape[:-1], -1)


class StackedHead(StackedLayer):
    """A `Head`."""

    def __init__(self, layer: Head) -> None:
        super().__init__(layer)
        self.equal = layer.equal

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes logits: (T * B, features) to (T * B, ways)."""
        present().see(batch)
        return logits_of(self.by_task(batch), self.weight, self.bias, self.equal).flatten(0, 1)


class VmappedLayer(StackedLayer):
    """Any other layer with parameters, mapped over the tasks by torch."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.original = (layer,)  # in a tuple: not a part of this one

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Computes (T * B, ...) of (T * B, ...)."""
        weights = {name: weight for name, weight in self._parameters.items() if weight is not None}
        layer = copy.copy(self.original[0])  # other threads may use the original
        if is_watched(layer):  # not within vmap, whose tensors must not leave it
            present().see(batch)
            hooks = layer._forward_pre_hooks.items()
            layer._forward_pre_hooks = OrderedDict((k, h) for k, h in hooks if h is not watch)
        layer._parameters = dict(layer._parameters)
        out: torch.Tensor = vmap(partial(functional_call, layer))(weights, self.by_task(batch))
        return out.flatten(0, 1)


class StackedNorm(StackedLayer):
    """A `Norm`: by the moments that the present pass gives, else by those of each task's batch."""

    weight: torch.Tensor | None  # type: ignore[assignment]

    def __init__(self, layer: Norm) -> None:
        super().__init__(layer)
        self.eps, self.name = layer.eps, layer.name

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Normalises (T * B, channels, ...)."""
        values, now = self.by_task(batch.movedim(1, -1)), present()
        statistics = now.recall(self.name)
        if statistics is None:
            statistics = now.note(self.name, moments(values))
        variance, mean = statistics
        normed = self.normalise(values, variance, mean, self.weight, self.bias)
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


def moments(values: torch.Tensor) -> torch.Tensor:
    """Computes biased variance over mean of (T, ..., channels): (2, T, channels).

    Those of values in bfloat16 are in float32.
    """
    rows = single(values.flatten(1, -2))
    mean = rows.mean(dim=1)  # in two passes: torch.var_mean takes three times as long
    return torch.stack([(rows - mean[:, None]).square().mean(dim=1), mean])


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
        return None
    if type(layer) is Norm:
        return StackedNorm(layer)
    if type(layer) is Head:
        return StackedHead(layer)
    if type(layer) is nn.Linear:
        return StackedLinear(layer)
    has_own = any(True for _ in layer.named_parameters(recurse=False))
    return VmappedLayer(layer) if has_own and not layer._modules else None


def _plain(layer: nn.Conv2d) -> bool:
    simple = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return simple and not isinstance(layer.padding, str)
