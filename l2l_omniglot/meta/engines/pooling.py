"""Maxima over 2x2 windows for T tasks side by side, differentiable to any order.

Which of the four pixels of a window is largest is found once; given that, pooling is linear: it
selects. So its derivative scatters, the derivative of that selects again, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a window, in the order max_pool2d prefers them


def pool(maps: torch.Tensor) -> torch.Tensor:
    """Maxima of the 2x2 windows of (T, B, H, W, channels); a last odd row or column is left out."""
    if not torch.is_grad_enabled():
        return _maxima(corners(maps))
    with torch.no_grad():
        _, choice = _maxima_and_choice(corners(maps))
    return select(maps, choice)


def pool_products(rows: Sequence[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Maxima of four matrix products, without keeping the products.

    Args:
        rows: four constants (T, N, K), one a corner of the window.
        weight: (T, K, filters).

    Returns:
        (T, N, filters).
    """
    if not torch.is_grad_enabled():
        return _maxima([torch.bmm(part, weight) for part in rows])
    with torch.no_grad():
        pooled, choice = _maxima_and_choice([torch.bmm(part, weight) for part in rows])
    return select_products(weight, choice, pooled, *rows)


def corners(maps: torch.Tensor) -> list[torch.Tensor]:
    """The four pixels of all windows: views (T, B, H // 2, W // 2, ...) of (T, B, H, W, ...)."""
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    return [maps[:, :, y:height:2, x:width:2] for y, x in CORNERS]


def _maxima(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The largest of the parts."""
    largest = torch.maximum(parts[0], parts[1]).contiguous()
    for part in parts[2:]:
        torch.maximum(largest, part, out=largest)
    return largest


def _maxima_and_choice(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of the parts, and the number of the part it is (the first among equals).

    Choices are numbers of the parts' own type: torch's operations on booleans, and those that
    mix types, take thirty times as long on a CPU.
    """
    largest = parts[0].clone(memory_format=torch.contiguous_format)
    choice, larger = torch.zeros_like(largest), torch.empty_like(largest)
    for number, part in enumerate(parts[1:], 1):
        torch.gt(part, largest, out=larger)
        torch.maximum(choice, larger.mul_(number), out=choice)
        torch.maximum(largest, part, out=largest)
    return largest, choice


def _chosen(choice: torch.Tensor, number: int) -> torch.Tensor:
    """1 where part `number` was chosen, else 0."""
    return torch.eq(choice, number, out=torch.empty_like(choice))


class _Select(torch.autograd.Function):
    """The chosen pixels of maps."""

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(choice)
        ctx.size = maps.shape[2:4]
        out = maps.new_zeros(choice.shape)
        for number, part in enumerate(corners(maps)):
            out.addcmul_(part, _chosen(choice, number))
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        (choice,) = ctx.saved_tensors
        return scatter(grad, choice, ctx.size), None


class _Scatter(torch.autograd.Function):
    """Values put at the chosen pixels, zero elsewhere."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, choice: torch.Tensor, size: tuple[int, int]
    ) -> torch.Tensor:
        ctx.save_for_backward(choice)
        tasks, batch, *_, channels = values.shape
        maps = values.new_zeros(tasks, batch, *size, channels)
        for number, part in enumerate(corners(maps)):
            torch.mul(values, _chosen(choice, number), out=part)
        return maps

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        (choice,) = ctx.saved_tensors
        return select(grad, choice), None, None


class _SelectProducts(torch.autograd.Function):
    """The chosen of four matrix products."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        choice: torch.Tensor,
        known: torch.Tensor | None,
        *rows: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(choice, *rows)
        if known is not None:
            return known
        out = weight.new_zeros(choice.shape)
        for number, part in enumerate(rows):
            out.addcmul_(torch.bmm(part, weight), _chosen(choice, number))
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        choice, *rows = ctx.saved_tensors
        return products_gradient(grad, choice, *rows), *(None,) * (2 + len(rows))


class _ProductsGradient(torch.autograd.Function):
    """Gradient of the weight of the chosen of four matrix products."""

    @staticmethod
    def forward(
        ctx: Any, grad: torch.Tensor, choice: torch.Tensor, *rows: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(choice, *rows)
        out = grad.new_zeros(grad.shape[0], rows[0].shape[2], grad.shape[2])
        for number, part in enumerate(rows):
            out.baddbmm_(part.transpose(1, 2), grad * _chosen(choice, number))
        return out

    @staticmethod
    def backward(ctx: Any, weight: torch.Tensor) -> Any:
        choice, *rows = ctx.saved_tensors
        return select_products(weight, choice, None, *rows), *(None,) * (1 + len(rows))


select: Callable[..., torch.Tensor] = _Select.apply
scatter: Callable[..., torch.Tensor] = _Scatter.apply
select_products: Callable[..., torch.Tensor] = _SelectProducts.apply
products_gradient: Callable[..., torch.Tensor] = _ProductsGradient.apply
