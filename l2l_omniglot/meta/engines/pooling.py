"""Max-pool of 2x2 windows whose gradient, and the gradient of that, move only what was chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import max_pool2d

from l2l_omniglot.meta.engines.layers import spread


def pool(maps: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Pools 2x2 windows of (T, B, H, W, filters): maxima; minima where the scale is below 0.

    torch's max-pool only finds them: differentiated twice, it adds zeros to all maps.
    """
    sign = None
    if scale.is_cuda or bool((scale < 0).any()):  # on a GPU it would take longer to look
        sign = spread(torch.where(scale < 0, -1.0, 1.0).to(scale), maps)
        maps = maps * sign
    batch = maps.flatten(0, 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        chosen = max_pool2d(batch, 2, return_indices=True)[1]
    pooled: torch.Tensor = choose(batch, chosen).permute(0, 2, 3, 1).unflatten(0, maps.shape[:2])
    return pooled if sign is None else pooled * sign


class _Choice(torch.autograd.Function):
    """Takes the chosen pixels (B, channels, H', W') of maps (B, channels, H, W)."""

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(chosen)
        ctx.size = maps.shape[2:]
        rows, at = (tensor.permute(0, 2, 3, 1).flatten(1, 2) for tensor in (maps, chosen))
        picked: torch.Tensor = rows.gather(1, at).unflatten(1, chosen.shape[2:])
        return picked.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return unchoose(grad, ctx.saved_tensors[0], ctx.size), None


class _Placing(torch.autograd.Function):
    """Puts values (B, channels, H', W') where they were chosen, among zeros; inverts `_Choice`."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, chosen: torch.Tensor, size: torch.Size
    ) -> torch.Tensor:
        ctx.save_for_backward(chosen)
        last, shape = torch.channels_last, (*values.shape[:2], *size)
        if values.dtype == torch.bfloat16:
            like = torch.empty(shape, dtype=values.dtype, device=values.device, memory_format=last)
            window = [2, 2], [2, 2], [0, 0], [1, 1], False
            values = values.contiguous(memory_format=last)
            backward = torch.ops.aten.max_pool2d_with_indices_backward
            return backward(values, like, *window, chosen)  # type: ignore[no-any-return]
        rows, at = (tensor.permute(0, 2, 3, 1).flatten(1, 2) for tensor in (values, chosen))
        placed = values.new_zeros(len(rows), size.numel(), rows.shape[2]).scatter_(1, at, rows)
        maps: torch.Tensor = placed.unflatten(1, size)
        return maps.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return choose(grad, ctx.saved_tensors[0]), None, None


choose: Callable[..., torch.Tensor] = _Choice.apply
unchoose: Callable[..., torch.Tensor] = _Placing.apply
