"""Statistics over the images of each of T tasks; of a convolution, from what it sees alone."""

from __future__ import annotations

from typing import NamedTuple

import torch

from l2l_omniglot.meta.engines.convolution import Geometry, windows
from l2l_omniglot.meta.engines.pooling import corners


def moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance (not corrected) and mean of (T, ..., channels): each (T, channels)."""
    rows = values.flatten(1, -2)
    mean = rows.mean(dim=1)  # in two passes: torch.var_mean takes three times as long
    return (rows - mean[:, None]).square().mean(dim=1), mean


def spread(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(T, channels), to be broadcast over (T, ..., channels)."""
    return value.view(value.shape[0], *(1,) * (like.ndim - 2), value.shape[1])


class Seen(NamedTuple):
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


def look(images: torch.Tensor, geometry: Geometry) -> Seen:
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
    return Seen([part.flatten(1, 3) for part in parts], parts[0].shape[1:4], covariance, mean)


def product_variance(covariance: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Variance (T, filters) of products with weights (T, K, filters), given (T, K, K)."""
    wide = weights.double()
    return (wide * torch.bmm(covariance, wide)).sum(dim=1).to(weights.dtype)
