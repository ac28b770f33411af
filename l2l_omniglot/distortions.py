"""Small random distortions of training images: nobody draws a character twice the same way."""

from __future__ import annotations

import math
import random

import torch
from torch.nn.functional import grid_sample

TURN = math.radians(10)  # the most, either way
STRETCH = 0.1  # of either axis, as a share of its length
SHEAR = 0.1
SHIFT = 0.14  # of half the image's size: 2 pixels of 28


def distort(images: torch.Tensor, paper: float) -> torch.Tensor:
    """Turns, stretches, shears and shifts every image a little, each its own way.

    After Koch et al. 2015, "Siamese neural networks for one-shot image recognition", section
    3.4, with ranges of our own. Draws from Python's global `random`.

    Args:
        images: float32 (B, channels, H, W) in [0, 1].
        paper: value of the paper, which also comes in from outside: 0 or 1.

    Returns:
        The same shape and range.
    """
    count, _, height, width = images.shape
    generator = torch.Generator().manual_seed(random.getrandbits(63))
    drawn = 2 * torch.rand(6, count, 1, 1, generator=generator).to(images) - 1
    turn, shear = drawn[0] * TURN, drawn[1] * SHEAR
    wide, high = 1 + drawn[2] * STRETCH, 1 + drawn[3] * STRETCH
    # Where each pixel of the result looks, from -1 to 1 over the image.
    y, x = _centres(height, images)[:, None], _centres(width, images)
    x = x + shear * y
    cosine, sine = turn.cos(), turn.sin()
    across = wide * (cosine * x - sine * y) + drawn[4] * SHIFT
    down = high * (sine * x + cosine * y) + drawn[5] * SHIFT
    grid = torch.stack([across, down], dim=3)
    if paper == 0:
        return grid_sample(images, grid, align_corners=False)
    return 1 - grid_sample(1 - images, grid, align_corners=False)


def _centres(pixels: int, like: torch.Tensor) -> torch.Tensor:
    """Of a row of pixels that reaches from -1 to 1."""
    numbers = torch.arange(pixels, dtype=like.dtype, device=like.device)
    return (2 * numbers + 1) / pixels - 1
