"""Convolves the images of T tasks side by side, each with its own weight, as matrix products.

A strided convolution is cut into its phases: input pixels of one remainder modulo the stride
meet the same kernel taps, so a phase is one matrix product of its pixels with those taps, and
zero padding is never multiplied. With BaseNet's stride and padding of 2 that is half of what a
convolution over the padded image multiplies. Output, gradient of the input and gradient of the
weight are bilinear maps that differentiate into each other: derivatives of any order are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, TypeAlias

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
        """Returns height and width of the output."""
        axes = zip(self.size, self.kernel, self.stride, self.padding, strict=True)
        height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        return height, width


Slices: TypeAlias = tuple[slice | int, ...]


class Phase(NamedTuple):
    """Input pixels of one remainder modulo the stride, and the taps that they meet.

    Attributes:
        pixels: of images (T, B, H, W, channels).
        taps: of a weight (T, filters, kernel height, kernel width, channels).
        sizes: height and width of the pixels, then of the taps.
        meetings: for every tap, its pixels among (T, B, *sizes) and the output pixels that these
            meet through it, cut to those that exist.
    """

    pixels: Slices
    taps: Slices
    sizes: tuple[int, ...]
    meetings: tuple[tuple[Slices, Slices], ...]


def _axis_phases(n: int, k: int, s: int, p: int) -> Iterator[tuple[int, int, int, list[Any]]]:
    """Yields, along one axis, first pixel, first tap, number of pixels, and spans of every tap."""
    outputs = (n + 2 * p - k) // s + 1
    for first in range(min(s, n)):
        tap, count, spans = (first + p) % s, len(range(first, n, s)), []
        for t in range(tap, k, s):
            shift = (first + p - t) // s  # pixel j meets output pixel j + shift
            start = max(0, -shift)
            stop = max(start, min(count, outputs - shift))
            spans.append((slice(start, stop), slice(start + shift, stop + shift)))
        if spans:  # a stride beyond the kernel leaves pixels out
            yield first, tap, count, spans


@lru_cache(maxsize=256)
def _phases(g: Geometry) -> tuple[Phase, ...]:
    axes = zip(g.size, g.kernel, g.stride, g.padding, strict=True)
    every, (sh, sw) = (slice(None), slice(None)), g.stride
    return tuple(
        Phase(
            (*every, slice(h, None, sh), slice(w, None, sw)),
            (*every, slice(tap_h, None, sh), slice(tap_w, None, sw)),
            (count_h, count_w, len(spans_h), len(spans_w)),
            tuple(
                ((*every, pixels_h, pixels_w, a, b), (*every, outputs_h, outputs_w))
                for a, (pixels_h, outputs_h) in enumerate(spans_h)
                for b, (pixels_w, outputs_w) in enumerate(spans_w)
            ),
        )
        for (h, tap_h, count_h, spans_h), (w, tap_w, count_w, spans_w) in product(
            *(_axis_phases(*axis) for axis in axes)
        )
    )


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
    if images.dtype == torch.bfloat16:
        return convolution(images, weight, geometry)
    pixels = geometry.size[0] * geometry.size[1]
    if pixels <= FEW_PIXELS or pixels * images.shape[1] <= FEW_PIXELS_A_TASK:
        return convolution(images, weight, geometry)
    maps = [
        conv2d(part.permute(0, 3, 1, 2), kernel.permute(0, 3, 1, 2), None, *geometry[2:])
        for part, kernel in zip(images.unbind(), weight.unbind(), strict=True)
    ]
    return torch.stack(maps).permute(0, 1, 3, 4, 2)


def products(seen: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolves images given as their `windows` with a weight, as `convolve` does."""
    kernels = weight.flatten(2).transpose(1, 2)
    return torch.bmm(seen.flatten(1, 3), kernels).view(*seen.shape[:4], -1)


def windows(images: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Copies the window of every output pixel: (T, B, H', W', height * width * channels)."""
    (ph, pw), (kh, kw), (sh, sw) = geometry.padding, geometry.kernel, geometry.stride
    padded = pad(images, (0, 0, pw, pw, ph, ph))
    seen = padded.unfold(2, kh, sh).unfold(3, kw, sw)
    return seen.permute(0, 1, 2, 3, 5, 6, 4).flatten(4)


def _taps(weight: torch.Tensor, phase: Phase) -> torch.Tensor:
    """Returns a view (T, height taps, width taps, filters, channels)."""
    return weight[phase.taps].permute(0, 2, 3, 1, 4)


def _met(grad: torch.Tensor, phase: Phase) -> torch.Tensor:
    """Gathers what pixels meet through each tap: (T, B * height * width, taps * filters)."""
    met = grad.new_zeros(*grad.shape[:2], *phase.sizes, grad.shape[-1])
    for pixels, outputs in phase.meetings:
        met[pixels] = grad[outputs]
    return met.flatten(4).flatten(1, 3)


def _output(images: torch.Tensor, weight: torch.Tensor, g: Geometry) -> torch.Tensor:
    if images.dtype == torch.bfloat16:  # one product sums all taps, in float32
        return products(windows(images, g), weight)
    out = images.new_zeros(*images.shape[:2], *g.out, weight.shape[1])
    for phase in _phases(g):
        kernels = _taps(weight, phase).flatten(1, 3).transpose(1, 2)
        met = torch.bmm(images[phase.pixels].flatten(1, 3), kernels)
        met = met.view(*images.shape[:2], *phase.sizes, -1)
        for pixels, outputs in phase.meetings:
            out[outputs] += met[pixels]
    return out


def _images_gradient(weight: torch.Tensor, grad: torch.Tensor, g: Geometry) -> torch.Tensor:
    of_images = grad.new_zeros(*grad.shape[:2], *g.size, weight.shape[-1])
    for phase in _phases(g):
        target = of_images[phase.pixels]
        met = torch.bmm(_met(grad, phase), _taps(weight, phase).flatten(1, 3))
        target.copy_(met.view(target.shape))
    return of_images


def _weight_gradient(images: torch.Tensor, grad: torch.Tensor, g: Geometry) -> torch.Tensor:
    if images.dtype == torch.bfloat16:
        seen = windows(images, g).flatten(1, 3)
        shape = grad.shape[0], grad.shape[-1], *g.kernel, images.shape[-1]
        return torch.bmm(grad.flatten(1, 3).transpose(1, 2), seen).view(shape)
    of_weight = grad.new_zeros(grad.shape[0], grad.shape[-1], *g.kernel, images.shape[-1])
    for phase in _phases(g):
        target = _taps(of_weight, phase)
        pixels = images[phase.pixels].flatten(1, 3)
        met = torch.bmm(_met(grad, phase).transpose(1, 2), pixels)
        target.copy_(met.view(target.shape))
    return of_weight


class _Contraction(torch.autograd.Function):
    """Computes the missing one of images, weight and gradient of the output."""

    @staticmethod
    def forward(ctx: Any, images: Any, weight: Any, grad: Any, geometry: Geometry) -> torch.Tensor:
        ctx.save_for_backward(images, weight, grad)
        ctx.geometry = geometry
        if images is None:
            return _images_gradient(weight, grad, geometry)
        if weight is None:
            return _weight_gradient(images, grad, geometry)
        return _output(images, weight, geometry)

    @staticmethod
    def backward(ctx: Any, third: torch.Tensor) -> Any:
        tensors = [third if saved is None else saved for saved in ctx.saved_tensors]
        gradients = [
            contract(*tensors[:i], None, *tensors[i + 1 :], ctx.geometry) if needed else None
            for i, needed in enumerate(ctx.needs_input_grad[:3])
        ]
        return (*gradients, None)


contract: Callable[..., torch.Tensor] = _Contraction.apply


def convolution(images: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Convolves by phases, whatever the sizes; see `convolve`."""
    return contract(images, weight, None, geometry)
