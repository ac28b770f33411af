"""Augmentation: a small random affine map of every image."""

from __future__ import annotations

import torch
from torch.nn.functional import affine_grid, grid_sample

# Each is drawn for every image, uniformly from minus to plus this.
ROTATION = 0.26  # radians
SCALE, STRETCH = 0.15, 0.1  # shares of the size: of both sides, and of one against the other
SHEAR = 0.2
SHIFT = 0.12  # share of the side


def affine(images: torch.Tensor, generator: torch.Generator, background: float) -> torch.Tensor:
    """Turns, scales, stretches, shears and shifts each image by a random small amount.

    Args:
        images: float32 (B, channels, H, W) in [0, 1].
        generator: draws the maps, on the CPU.
        background: value of the background, which comes in from outside.

    Returns:
        Images of the same shape.
    """
    drawn = 2 * torch.rand(6, len(images), generator=generator) - 1
    angle, shear = ROTATION * drawn[0], SHEAR * drawn[1]
    height = (1 + SCALE * drawn[2]) * (1 + STRETCH * drawn[3])
    width = (1 + SCALE * drawn[2]) * (1 - STRETCH * drawn[3])
    cos, sin = angle.cos(), angle.sin()
    # From a pixel of the new image to its place in the old one, in units of half a side.
    rows = [
        torch.stack([width * cos, width * (shear * cos - sin), 2 * SHIFT * drawn[4]], dim=1),
        torch.stack([height * sin, height * (shear * sin + cos), 2 * SHIFT * drawn[5]], dim=1),
    ]
    maps = torch.stack(rows, dim=1).to(images)
    grid = affine_grid(maps, list(images.shape), align_corners=False)
    return grid_sample(images - background, grid, align_corners=False) + background
