"""The average of the weights over the updates.

torch's `AveragedModel` averages a copy of one module; here are parameters of several, a decay that
grows with the updates, and the average takes the place of the weights to be evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class WeightAverage:
    """An exponential average of parameters (Polyak & Juditsky 1992).

    The first updates count for more than `decay` says, so that the initial weights are forgotten.

    Args:
        parameters: averaged from their present values on.
        decay: share of the average so far, in (0, 1).

    Attributes:
        tensors: the average, in the order of the parameters.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self.tensors = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Adds the present values, after so many updates."""
        share = 1 - min(self._decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(self.tensors, [p.detach() for p in self._parameters], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Gives the parameters their averages for the block."""
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self._write(self.tensors)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
