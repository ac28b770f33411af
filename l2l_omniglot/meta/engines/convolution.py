"""Convolutions of T tasks side by side, each with a weight of its own, as matrix products.

A strided convolution is cut into its phases: input pixels of one remainder modulo the stride
meet the same kernel taps, so a phase is one matrix product of its pixels with those taps, and
zero padding is never multiplied. With BaseNet's stride and padding of 2 that is half of what a
convolution over the padded image multiplies. Output, gradient of the input and gradient of the
weight are bilinear maps that differentiate into each other: derivatives of any order are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch.nn.functional import conv2d, pad

# Phases beat torch's convolution up to so many pixels an image, or pixels a task; measured.
FEW_PIXELS, FEW_PIXELS_A_TASK = 4, 300
FEW_PRODUCTS = 32  # channels x taps up to which windows are cheaper copied than cut into phases


class Geometry(NamedTuple):
    """A convolution without dilation or groups; each pair is (height, width)."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        axes = zip(self.size, self.kernel, self.stride, self.padding, strict=True)
        height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        return height, width


class Phase(NamedTuple):
    """Along one axis: the input pixels ``[first::stride]`` and the taps ``[tap::stride]``.

    Pixel j meets output pixel ``j + shift`` through the tap; `spans` lists, for every tap,
    (pixels, outputs) as slices, cut to outputs that exist.
    """

    first: int
    tap: int
    spans: tuple[tuple[slice, slice], ...]


@lru_cache(maxsize=256)
def _axis_phases(n: int, k: int, s: int, p: int) -> tuple[Phase, ...]:
    outputs = (n + 2 * p - k) // s + 1
    phases = []
    for first in range(min(s, n)):
        tap = (first + p) % s
        if tap >= k:  # a stride beyond the kernel leaves these pixels out
            continue
        count = len(range(first, n, s))
        spans = []
        for t in range(tap, k, s):
            shift = (first + p - t) // s
            start, stop = max(0, -shift), min(count, outputs - shift)
            stop = max(start, stop)
            spans.append((slice(start, stop), slice(start + shift, stop + shift)))
        phases.append(Phase(first, tap, tuple(spans)))
    return tuple(phases)


def _phases(g: Geometry) -> Iterable[tuple[Phase, ...]]:
    axes = zip(g.size, g.kernel, g.stride, g.padding, strict=True)
    return product(*(_axis_phases(*axis) for axis in axes))


def convolve(images: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Convolves the images of each task with that task's weight.

    Args:
        images: (T, B, H, W, channels).
        weight: (T, filters, kernel height, kernel width, channels).
        geometry: sizes.

    Returns:
        (T, B, H', W', filters).
    """
    if images.is_cuda or weight[0, 0].numel() <= FEW_PRODUCTS:
        return products(windows(images, geometry), weight)
    pixels = geometry.size[0] * geometry.size[1]
    if pixels <= FEW_PIXELS or pixels * images.shape[1] <= FEW_PIXELS_A_TASK:
        return convolution(images, weight, geometry)
    maps = [
        conv2d(part.permute(0, 3, 1, 2), kernel.permute(0, 3, 1, 2), None, *geometry[2:])
        for part, kernel in zip(images.unbind(), weight.unbind(), strict=True)
    ]
    return torch.stack(maps).permute(0, 1, 3, 4, 2)


def products(seen: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution of the images whose `windows` are given, and a weight as of `convolve`."""
    kernels = weight.flatten(2).transpose(1, 2)
    return torch.bmm(seen.flatten(1, 3), kernels).view(*seen.shape[:4], -1)


def windows(images: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """What every output pixel sees: (T, B, H', W', kernel height * kernel width * channels)."""
    (ph, pw), (kh, kw), (sh, sw) = geometry.padding, geometry.kernel, geometry.stride
    padded = pad(images, (0, 0, pw, pw, ph, ph))
    seen = padded.unfold(2, kh, sh).unfold(3, kw, sw)
    return seen.permute(0, 1, 2, 3, 5, 6, 4).flatten(4)


def _taps(weight: torch.Tensor, g: Geometry, h: Phase, w: Phase) -> torch.Tensor:
    """A phase's taps: (T, taps * filters, channels)."""
    return _slice_taps(weight, g, h, w).flatten(1, 3)


def _slice_taps(weight: torch.Tensor, g: Geometry, h: Phase, w: Phase) -> torch.Tensor:
    """A view of a phase's taps: (T, height taps, width taps, filters, channels)."""
    return weight[:, :, h.tap :: g.stride[0], w.tap :: g.stride[1]].permute(0, 2, 3, 1, 4)


def _outputs(grad: torch.Tensor, g: Geometry, h: Phase, w: Phase) -> torch.Tensor:
    """What a phase's pixels meet through each tap: (T, B * height * width, taps * filters)."""
    tasks, batch, *_, filters = grad.shape
    counts = [len(range(p.first, n, s)) for p, n, s in zip((h, w), g.size, g.stride, strict=True)]
    met = grad.new_zeros(tasks, batch, *counts, len(h.spans), len(w.spans), filters)
    for (a, (hp, ho)), (b, (wp, wo)) in product(enumerate(h.spans), enumerate(w.spans)):
        met[:, :, hp, wp, a, b] = grad[:, :, ho, wo]
    return met.flatten(4).flatten(1, 3)


def _output(images: torch.Tensor, weight: torch.Tensor, g: Geometry) -> torch.Tensor:
    tasks, batch, filters = images.shape[0], images.shape[1], weight.shape[1]
    out = images.new_zeros(tasks, batch, *g.out, filters)
    for h, w in _phases(g):
        pixels = images[:, :, h.first :: g.stride[0], w.first :: g.stride[1]]
        met = torch.bmm(pixels.flatten(1, 3), _taps(weight, g, h, w).transpose(1, 2))
        met = met.view(*pixels.shape[:4], len(h.spans), len(w.spans), filters)
        for (a, (hp, ho)), (b, (wp, wo)) in product(enumerate(h.spans), enumerate(w.spans)):
            out[:, :, ho, wo] += met[:, :, hp, wp, a, b]
    return out


def _images_gradient(weight: torch.Tensor, grad: torch.Tensor, g: Geometry) -> torch.Tensor:
    of_images = grad.new_zeros(*grad.shape[:2], *g.size, weight.shape[-1])
    for h, w in _phases(g):
        target = of_images[:, :, h.first :: g.stride[0], w.first :: g.stride[1]]
        met = torch.bmm(_outputs(grad, g, h, w), _taps(weight, g, h, w))
        target.copy_(met.view(target.shape))
    return of_images


def _weight_gradient(images: torch.Tensor, grad: torch.Tensor, g: Geometry) -> torch.Tensor:
    of_weight = grad.new_zeros(grad.shape[0], grad.shape[-1], *g.kernel, images.shape[-1])
    for h, w in _phases(g):
        target = _slice_taps(of_weight, g, h, w)
        pixels = images[:, :, h.first :: g.stride[0], w.first :: g.stride[1]].flatten(1, 3)
        met = torch.bmm(_outputs(grad, g, h, w).transpose(1, 2), pixels)
        target.copy_(met.view(target.shape))
    return of_weight


class _Contraction(torch.autograd.Function):
    """Of images, weight and gradient of the output, the one that the two others make."""

    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor | None,
        weight: torch.Tensor | None,
        grad: torch.Tensor | None,
        geometry: Geometry,
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight, grad)
        ctx.geometry = geometry
        return _complete(images, weight, grad, geometry)

    @staticmethod
    def backward(ctx: Any, third: torch.Tensor) -> Any:
        images, weight, grad = (third if one is None else one for one in ctx.saved_tensors)
        of_images, of_weight, of_grad, _ = ctx.needs_input_grad
        g = ctx.geometry
        return (
            contract(None, weight, grad, g) if of_images else None,
            contract(images, None, grad, g) if of_weight else None,
            contract(images, weight, None, g) if of_grad else None,
            None,
        )


def _complete(
    images: torch.Tensor | None,
    weight: torch.Tensor | None,
    grad: torch.Tensor | None,
    geometry: Geometry,
) -> torch.Tensor:
    if images is None:
        assert weight is not None and grad is not None
        return _images_gradient(weight, grad, geometry)
    if weight is None:
        assert grad is not None
        return _weight_gradient(images, grad, geometry)
    return _output(images, weight, geometry)


contract: Callable[..., torch.Tensor] = _Contraction.apply


def convolution(images: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """As `convolve`, always by phases."""
    return contract(images, weight, None, geometry)
