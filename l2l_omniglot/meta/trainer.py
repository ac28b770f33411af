"""The trainer: makes one meta-update after the other, and can be resumed after any of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.data.tasks import MixedTasks, TaskBatch, Tasks
from l2l_omniglot.errors import TrainingError, check_choice, check_number
from l2l_omniglot.meta import OPTIMISERS, SCHEDULES
from l2l_omniglot.meta.average import WeightAverage
from l2l_omniglot.meta.chunks import map_chunks
from l2l_omniglot.meta.engines import Engine
from l2l_omniglot.meta.evaluation import mean
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.rules import MetaGradient
from l2l_omniglot.meta.workers import ALONE, Workers

_AVERAGE = "average"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How learning rate, order and loss change over training; t is an update's number, from 0.

    Attributes:
        iterations: its length; later updates are made like the last.
        meta_lr: learning rate at the start.
        kind: of the meta learning rate: ``constant``, ``cosine`` to 0 (Loshchilov & Hutter
            2017; in MAML Antoniou et al. 2019, "CA"), or ``linear`` to 0 (Nichol et al. 2018).
        first_order_until: the fraction of the iterations, in [0, 1], that is first order before
            second order begins (Antoniou et al. 2019, "DA").
        multi_step_until: the fraction of the iterations, in [0, 1], over which the loss moves
            from the mean over all steps to the last step's (Antoniou et al. 2019, "MSL").
        warmup: number of updates over which the learning rate rises to its start, 0 or more; again
            after the change to second order, for whose larger gradients Adam's moments are too low.

    Raises:
        SettingsError: if a value is out of range.
    """

    iterations: int
    meta_lr: float
    kind: str = "constant"
    first_order_until: float = 0.0
    multi_step_until: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        check_choice("schedule", self.kind, SCHEDULES)
        check_number("iterations", self.iterations, minimum=1)
        check_number("meta_lr", self.meta_lr, above=0)
        for name in ("first_order_until", "multi_step_until"):
            check_number(name, getattr(self, name), minimum=0, maximum=1)

    def lr(self, iteration: int) -> float:
        """Returns the optimiser's learning rate."""
        change = math.ceil(self.first_order_until * self.iterations)
        since = iteration - change if iteration >= change else iteration
        rate = self.meta_lr * min(1.0, (since + 1) / max(1, self.warmup))
        if self.kind == "constant":
            return rate
        done = self._done(iteration, 1.0)
        linear = self.kind == "linear"
        return rate * (1 - done if linear else 0.5 * (1 + math.cos(math.pi * done)))

    def is_first_order(self, iteration: int) -> bool:
        """Returns whether inner gradients are treated as constants."""
        return self._done(iteration, self.first_order_until) < 1

    def step_weights(self, iteration: int, steps: int) -> tuple[float, ...]:
        """Returns the weights of the query losses after 0, 1, ..., K steps; their sum is 1.

        With the multi-step loss each step has 1 / K at first; all but the last decay linearly
        to 0.
        """
        if steps == 0:
            return (1.0,)
        early = (1 - self._done(iteration, self.multi_step_until)) / steps
        return (0.0, *(early,) * (steps - 1), 1 - early * (steps - 1))

    def _done(self, iteration: int, fraction: float) -> float:
        """Returns how much of that fraction of the iterations is done, in [0, 1]."""
        length = fraction * self.iterations
        return min(1.0, iteration / length) if length > 0 else 1.0


class StepResult(NamedTuple):
    """Loss and accuracy of one meta-update: `iteration` counts the updates, including this one.

    Both are means over the queries of the meta-batch after the inner loop: nats, and [0, 1]. Of a
    bad update, which is `skipped`, the loss may be finite though its gradient is not.
    """

    iteration: int
    loss: float
    accuracy: float
    skipped: bool = False


class Trainer:
    """Meta-trains a learner, with Adam by default (Finn et al. 2017, algorithm 2).

    Update t uses the tasks from number ``t * meta_batch_size`` on, and a random state that
    depends on (stream, t) only. So a trainer restored at update t continues exactly like the
    one that was saved, and no global random state changes.

    Args:
        learner, tasks: what is trained, and the stream of training tasks.
        meta_batch_size, inner_steps: tasks per update, and gradient steps K.
        meta_lr, iterations: of a schedule given by name.
        schedule: one of `SCHEDULES`, or a `l2l_omniglot.meta.trainer.Schedule`.
        workers: the processes that share an update's tasks; each makes the same update. All
            must start from the same weights.
        optimiser: ``adam``, or ``sgd`` (gradient descent, as Reptile has it).
        weight_decay: of the backbone, decoupled (Loshchilov & Hutter 2019, "AdamW").
        average_weights: decay of an average of the weights, in (0, 1); 0: none is kept.
        clip_gradients: norm that a longer meta-gradient is shortened to; 0: none is.
        skip_bad_updates: number of updates that are skipped if their loss or gradient is not
            finite; the next one is an error.

    Attributes:
        iteration: updates made or skipped.
        skipped: those that were skipped.

    Raises:
        SettingsError: if schedule or optimiser are unknown or a number is out of range.
    """

    def __init__(
        self,
        learner: Learner,
        tasks: Tasks | MixedTasks,
        *,
        meta_batch_size: int = 8,
        inner_steps: int = 1,
        meta_lr: float = 2e-3,
        schedule: str | Schedule = "constant",
        iterations: int = 24_000,
        workers: Workers = ALONE,
        optimiser: str = "adam",
        weight_decay: float = 0.0,
        average_weights: float = 0.0,
        clip_gradients: float = 0.0,
        skip_bad_updates: int = 0,
    ) -> None:
        check_number("meta_batch_size", meta_batch_size, minimum=1)
        check_number("clip_gradients", clip_gradients, minimum=0)
        check_choice("optimiser", optimiser, OPTIMISERS)
        check_number("skip_bad_updates", skip_bad_updates, minimum=0)
        check_number("inner_steps", inner_steps, minimum=0)
        if isinstance(schedule, str):
            schedule = Schedule(iterations, meta_lr, schedule)
        self.schedule = schedule
        self.learner, self.tasks, self.workers = learner, tasks, workers
        self.meta_batch_size, self.inner_steps = meta_batch_size, inner_steps
        self.iteration = self.skipped = 0
        self.clip_gradients, self.skip_bad_updates = clip_gradients, skip_bad_updates
        ids = {id(parameter) for parameter in learner.backbone.parameters()}
        groups = [
            {"params": [p for p in learner.trained if (id(p) in ids) == decays], "weight_decay": w}
            for decays, w in ((True, weight_decay), (False, 0.0))
        ]
        make = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimiser]
        self.optimizer: torch.optim.Optimizer = make(groups, lr=schedule.meta_lr)
        self.average = WeightAverage(learner.trained, average_weights) if average_weights else None

    def step(self) -> StepResult:
        """Makes one meta-update, or skips a bad one, which leaves the parameters unchanged.

        Raises:
            TrainingError: if the loss or its gradient is not finite, and none may be skipped any
                more; the parameters are left unchanged.
        """
        self.learner.backbone.train()
        key = ("update", self.tasks.seed, self.tasks.name, self.iteration)
        with all_random(*key):
            losses, accuracies = self._compute_gradient(key)
        loss = mean(losses)
        gradients = [p.grad for p in self.learner.trained if p.grad is not None]
        if not (math.isfinite(loss) and all(bool(g.isfinite().all()) for g in gradients)):
            self._skip(losses)
            return StepResult(self.iteration, loss, mean(accuracies), skipped=True)
        self._update()
        return StepResult(self.iteration, loss, mean(accuracies))

    def _update(self) -> None:
        """Changes the parameters by their gradients."""
        if self.clip_gradients:
            clip_grad_norm_(self.learner.trained, self.clip_gradients)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr(self.iteration)
        self.optimizer.step()
        self.learner.rates.bound()
        self.iteration += 1
        if self.average:
            self.average.update(self.iteration)

    def _skip(self, losses: Sequence[float]) -> None:
        """Counts a bad update and says which tasks were bad, or ends the training."""
        start, number = self.iteration * self.meta_batch_size, self.iteration + 1
        bad = [str(start + place) for place, loss in enumerate(losses) if not math.isfinite(loss)]
        last = start + self.meta_batch_size - 1
        what = f"loss of task {', '.join(bad)}" if bad else f"gradient over tasks {start} to {last}"
        if self.skipped >= self.skip_bad_updates:
            raise TrainingError(
                f"meta-update {number}: the {what} is not finite; a smaller inner "
                f"learning rate (now {self.learner.inner_lr:g}) or meta learning rate (now "
                f"{self.schedule.meta_lr:g}) may help, or skipping more such updates (now at most "
                f"{self.skip_bad_updates})"
            )
        self.skipped += 1
        self.iteration += 1
        log.info(
            f"Note: meta-update {number}: the {what} is not finite; skipped, {self.skipped} of at "
            f"most {self.skip_bad_updates}."
        )

    def _compute_gradient(self, key: tuple[object, ...]) -> tuple[list[float], list[float]]:
        """Puts the mean gradient over the meta-batch into ``grad``; returns losses, accuracies.

        It is summed in the order of the tasks, whatever order they are computed in.
        """
        self.optimizer.zero_grad()
        share = self.workers.share(self.meta_batch_size)
        batch = self.tasks.batch(self.iteration * self.meta_batch_size + share.start, len(share))
        results = torch.zeros(2, self.meta_batch_size, dtype=torch.float64)
        done = share.start
        for part in map_chunks(self.learner, self._meta_gradient, batch, key, share.start):
            start, done = done, done + len(part.scores.losses)
            results[0, start:done] = part.scores.losses
            results[1, start:done] = part.scores.accuracies
            for parameter, gradient in zip(self.learner.trained, part.gradients, strict=True):
                if gradient is not None:
                    term = gradient / self.meta_batch_size
                    parameter.grad = term if parameter.grad is None else parameter.grad + term
        if self.workers.count > 1:
            self._exchange(results)
        return results[0].tolist(), results[1].tolist()

    def _meta_gradient(self, chunk: TaskBatch, engine: Engine) -> MetaGradient:
        steps, schedule = self.inner_steps, self.schedule
        first_order = self.learner.first_order or schedule.is_first_order(self.iteration)
        weights = schedule.step_weights(self.iteration, steps)
        return self.learner.meta_gradient(chunk, steps, engine, first_order, weights)

    def _exchange(self, results: torch.Tensor) -> None:
        """Sums gradients and results over the workers: two all-reduces an update."""
        parameters = self.learner.trained
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = parameters_to_vector(parts)
        self.workers.sum(flat)
        vector_to_parameters(flat, parts)
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part
        on_device = results.to(self.learner.device)
        self.workers.sum(on_device)
        results.copy_(on_device)

    def averaged(self) -> AbstractContextManager[None]:
        """Gives the learner its averaged weights for a block, if an average is kept."""
        return self.average.in_place() if self.average else nullcontext()

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Returns the optimiser's state, by ``<parameter number>.<key>``, for a checkpoint.

        An average of the weights has the key ``average``.
        """
        state: dict[int, dict[str, torch.Tensor]] = self.optimizer.state_dict()["state"]
        by_key = {f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}
        averages = self.average.tensors if self.average else []
        return by_key | {f"{i}.{_AVERAGE}": value for i, value in enumerate(averages)}

    def restore(self, iteration: int, tensors: dict[str, torch.Tensor], skipped: int = 0) -> None:
        """Goes back to `iteration`, with the `optimizer_tensors` saved there."""
        self.skipped = skipped
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            number, key = name.split(".", 1)
            if key != _AVERAGE:
                state.setdefault(int(number), {})[key] = value
            elif self.average:
                self.average.tensors[int(number)].copy_(value)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.iteration = iteration
