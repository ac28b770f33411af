"""The reference engine: learn2learn's clone of the backbone itself, one task at a time."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.backbones.head_starts import HeadStart
from l2l_omniglot.meta.engines.fast_weights import Engine
from l2l_omniglot.meta.inner_rates import InnerRates
from l2l_omniglot.meta.step_norms import StepNorms


class Learn2learnEngine(Engine):
    """Computes any backbone, on any device."""

    name = "learn2learn"
    threads_share = "chunks"
    leading = False

    def __init__(
        self,
        backbone: nn.Module,
        rates: InnerRates,
        head: HeadStart | None = None,
        norms: StepNorms | None = None,
    ) -> None:
        super().__init__(backbone, backbone, rates, head, norms)

    def tasks_at_once(self, pixels: int) -> int:  # noqa: ARG002
        """Returns 1."""
        return 1

    def prepare(self, clone: nn.Module, tasks: int) -> None:  # noqa: ARG002
        """Checks that there is one task."""
        if tasks != 1:
            raise ValueError(f"{tasks} tasks at once: the learn2learn engine takes 1")

    def forward(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """See `Engine`."""
        return checked_forward(network, images[0])[None]
