"""The trainer: one meta-update after the other, resumable at any of them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch

from l2l_omniglot.errors import SettingsError, TrainingError
from l2l_omniglot.evaluation import mean
from l2l_omniglot.learner import Learner, Score
from l2l_omniglot.parallel import map_tasks
from l2l_omniglot.randomness import all_random
from l2l_omniglot.recipes import SCHEDULES
from l2l_omniglot.tasks import Tasks


class StepResult(NamedTuple):
    """What one meta-update saw.

    Attributes:
        iteration: how many updates there have been, this one counted.
        loss: mean query loss after the inner loop, over the meta-batch, in nats.
        accuracy: mean query accuracy after the inner loop, in [0, 1].
    """

    iteration: int
    loss: float
    accuracy: float


class Trainer:
    """Meta-trains a learner with Adam (Finn et al. 2017, algorithm 2).

    Update t uses tasks ``t * meta_batch_size`` and the following of the stream, and a random
    state that depends on (stream, t) only. So a trainer restored at update t goes on exactly
    as the one that was saved, and nobody's global random state changes.

    Args:
        learner: what is trained.
        tasks: stream of training tasks.
        meta_batch_size: tasks an update.
        inner_steps: gradient steps K.
        meta_lr: Adam's learning rate.
        schedule: ``constant``, or ``cosine``: from `meta_lr` down to 0 at `iterations`.
        iterations: length of the schedule; training on beyond it stays at its end.

    Raises:
        SettingsError: if the schedule is unknown or a number is out of range.
    """

    def __init__(
        self,
        learner: Learner,
        tasks: Tasks,
        *,
        meta_batch_size: int = 8,
        inner_steps: int = 1,
        meta_lr: float = 2e-3,
        schedule: str = "constant",
        iterations: int = 12_000,
    ) -> None:
        if schedule not in SCHEDULES:
            raise SettingsError(f"schedule {schedule!r}: needed one of {', '.join(SCHEDULES)}")
        if meta_batch_size < 1 or inner_steps < 0 or iterations < 1 or not meta_lr > 0:
            raise SettingsError(
                f"meta-batch of {meta_batch_size}, {inner_steps} inner steps, {iterations} "
                f"iterations, meta learning rate {meta_lr}: needed at least 1, 0, 1 and above 0"
            )
        self.learner, self.tasks = learner, tasks
        self.meta_batch_size, self.inner_steps = meta_batch_size, inner_steps
        self.meta_lr, self.schedule, self.iterations = meta_lr, schedule, iterations
        self.iteration = 0
        self.optimizer = torch.optim.Adam(learner.parameters(), lr=meta_lr)

    def current_lr(self) -> float:
        """Adam's learning rate at the next update."""
        if self.schedule == "constant":
            return self.meta_lr
        done = min(1.0, self.iteration / self.iterations)
        return self.meta_lr * 0.5 * (1 + math.cos(math.pi * done))

    def step(self) -> StepResult:
        """Makes one meta-update.

        Raises:
            TrainingError: if the loss or its gradient is not finite; the parameters are left
                as they were.
        """
        self.learner.backbone.train()
        with all_random("update", self.tasks.seed, self.tasks.name, self.iteration):
            scores = self._compute_gradient()
        loss = mean([score.loss.item() for score in scores])
        if not (math.isfinite(loss) and self._gradient_is_finite()):
            raise TrainingError(
                f"the loss became {loss:g}, or its gradient infinite, at iteration "
                f"{self.iteration + 1}; a smaller --inner-lr (now {self.learner.inner_lr:g}) or "
                f"--meta-lr (now {self.meta_lr:g}) may help"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.current_lr()
        self.optimizer.step()
        self.iteration += 1
        return StepResult(self.iteration, loss, mean([score.accuracy for score in scores]))

    def _compute_gradient(self) -> list[Score]:
        """Puts the mean gradient over the meta-batch into the parameters' ``grad``.

        Summed in the order of the tasks, whatever order they are computed in.
        """
        self.optimizer.zero_grad()
        start = self.iteration * self.meta_batch_size
        batch = self.tasks.batch(start, self.meta_batch_size)
        task_gradient = partial(self.learner.task_gradient, steps=self.inner_steps)
        scores = []
        for result in map_tasks(self.learner, task_gradient, batch):
            scores.append(result.score)
            for parameter, gradient in zip(
                self.learner.parameters(), result.gradients, strict=True
            ):
                if gradient is not None:
                    part = gradient / self.meta_batch_size
                    parameter.grad = part if parameter.grad is None else parameter.grad + part
        return scores

    def _gradient_is_finite(self) -> bool:
        gradients = (p.grad for p in self.learner.parameters() if p.grad is not None)
        return all(bool(gradient.isfinite().all()) for gradient in gradients)

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Adam's state by name, ``<parameter number>.<what>``, for a checkpoint."""
        state: dict[int, dict[str, torch.Tensor]] = self.optimizer.state_dict()["state"]
        return {f"{i}.{what}": value for i, entry in state.items() for what, value in entry.items()}

    def restore(self, iteration: int, tensors: dict[str, torch.Tensor]) -> None:
        """Goes back to `iteration` with what `optimizer_tensors` gave there."""
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            number, what = name.split(".", 1)
            state.setdefault(int(number), {})[what] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.iteration = iteration
