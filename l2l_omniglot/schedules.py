"""Schedules: what changes over the meta-updates of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from l2l_omniglot.choices import SCHEDULES
from l2l_omniglot.errors import check_name, check_number


@dataclass(frozen=True)
class Schedule:
    """What meta-update number t, from 0, is made with.

    Attributes:
        iterations: its length; beyond it all stays at its end.
        meta_lr: learning rate at the start.
        kind: of the meta learning rate: ``constant``, or ``cosine`` to 0 (Loshchilov & Hutter
            2017; in MAML Antoniou et al. 2019, "CA").
        first_order_until: the part of the iterations, in [0, 1], that is first order before
            second order begins (Antoniou et al. 2019, "DA").
        multi_step_until: the part of the iterations, in [0, 1], over which the loss moves from
            the mean over all steps to the last step's (Antoniou et al. 2019, "MSL").

    Raises:
        SettingsError: if a value is out of range.
    """

    iterations: int
    meta_lr: float
    kind: str = "constant"
    first_order_until: float = 0.0
    multi_step_until: float = 0.0

    def __post_init__(self) -> None:
        check_name("schedule", self.kind, SCHEDULES)
        check_number("iterations", self.iterations, least=1)
        check_number("meta_lr", self.meta_lr, above=0)
        for name in ("first_order_until", "multi_step_until"):
            check_number(name, getattr(self, name), least=0, most=1)

    def lr(self, iteration: int) -> float:
        """Adam's learning rate."""
        if self.kind == "constant":
            return self.meta_lr
        return self.meta_lr * 0.5 * (1 + math.cos(math.pi * self._done(iteration, 1.0)))

    def is_first_order(self, iteration: int) -> bool:
        """Whether the inner gradients count as constants."""
        return self._done(iteration, self.first_order_until) < 1

    def step_weights(self, iteration: int, steps: int) -> tuple[float, ...]:
        """The weight of the query loss after each of 0, 1, ..., K steps; they add up to 1.

        While the multi-step loss lasts, each step has 1 / K at first; all but the last go down
        to 0 in a straight line.
        """
        if steps == 0:
            return (1.0,)
        early = (1 - self._done(iteration, self.multi_step_until)) / steps
        return (0.0, *(early,) * (steps - 1), 1 - early * (steps - 1))

    def _done(self, iteration: int, part: float) -> float:
        """How much of a part of the iterations is behind, in [0, 1]."""
        length = part * self.iterations
        return min(1.0, iteration / length) if length > 0 else 1.0
