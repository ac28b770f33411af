"""A backbone of 82 parameters (2 ways), registered as any other package would register its own."""

from __future__ import annotations

import torch
from torch import nn


def tiny(*, ways: int, channels: int = 1, **_: object) -> nn.Module:
    return TinyConv(channels, ways)


class TinyConv(nn.Module):
    def __init__(self, channels: int, ways: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=4)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(16, ways)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.norm(self.conv(images)))
        return self.linear(nn.functional.adaptive_avg_pool2d(hidden, 2).flatten(1))
