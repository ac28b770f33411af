"""Statistics of a convolution from its windows alone: what each of its outputs sees."""

from __future__ import annotations

from typing import NamedTuple

import torch

from l2l_omniglot.engines.convolution import Geometry, windows
from l2l_omniglot.engines.layers import spread
from l2l_omniglot.engines.pooling import corners


class Windows(NamedTuple):
    """What a pooled convolution sees of constant images, less its mean over each task.

    Attributes:
        corners: four of (T, N, K), one a corner of the pooling windows.
        shape: B, height and width, which make up N.
        covariance: float64 (T, K, K), over all that is seen.
        mean: (T, K), which was taken off.
    """

    corners: list[torch.Tensor]
    shape: tuple[int, ...]
    covariance: torch.Tensor
    mean: torch.Tensor


def window_statistics(images: torch.Tensor, geometry: Geometry) -> Windows:
    """For images (T, B, H, W, channels).

    The covariance is summed in float64: the gradient of a normalised product is a small
    difference of large numbers.
    """
    seen = windows(images, geometry)
    mean = seen.flatten(1, -2).mean(dim=1)
    seen = seen - spread(mean, seen)
    tasks, batch, height, width, _ = seen.shape
    rows = seen.flatten(0, 1).flatten(1, 2)
    by_image = torch.bmm(rows.transpose(1, 2), rows).unflatten(0, (tasks, batch))
    covariance = by_image.double().mean(dim=1) / (height * width)
    parts = corners(seen)
    return Windows([part.flatten(1, 3) for part in parts], parts[0].shape[1:4], covariance, mean)


def product_variance(covariance: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Variance (T, filters) of products with weights (T, K, filters), given (T, K, K)."""
    wide = weights.double()
    return (wide * torch.bmm(covariance, wide)).sum(dim=1).to(weights.dtype)
