"""Evaluation: fine-tune a copy on each of many tasks, score after every step, average."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from l2l_omniglot.engines import Engine
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.learner import Learner
from l2l_omniglot.parallel import map_tasks
from l2l_omniglot.randomness import all_random
from l2l_omniglot.tasks import TaskBatch, Tasks
from l2l_omniglot.workers import ALONE, Workers

NORMAL_95 = 1.959964
BLOCK = 32  # tasks drawn at a time, so that memory does not grow with their number


@dataclass(frozen=True)
class Evaluation:
    """What many tasks gave; each list has K + 1 entries, before adaptation and after each step.

    Attributes:
        tasks: number of tasks.
        steps: gradient steps K.
        accuracy_per_step: mean over tasks, fractions in [0, 1].
        ci95_per_step: half width of the 95 % confidence interval of that mean over tasks
            (normal approximation, 1.96 standard errors).
        loss_per_step: mean query cross-entropy in nats.
        batch_norm: ``transductive``: each task's queries are normalised together.
    """

    tasks: int
    steps: int
    accuracy_per_step: list[float]
    ci95_per_step: list[float]
    loss_per_step: list[float]
    batch_norm: str = "transductive"

    @property
    def accuracy(self) -> float:
        """After the last step."""
        return self.accuracy_per_step[-1]

    @property
    def ci95(self) -> float:
        """After the last step."""
        return self.ci95_per_step[-1]

    @property
    def loss(self) -> float:
        """After the last step."""
        return self.loss_per_step[-1]

    def __str__(self) -> str:
        return (
            f"{self.accuracy:.2%} ± {self.ci95:.2%} after {self.steps} steps "
            f"({self.tasks} tasks, {self.batch_norm} batch norm)"
        )


def evaluate(
    learner: Learner,
    tasks: Tasks,
    count: int = 500,
    steps: int = 5,
    progress: Callable[[int], None] | None = None,
    workers: Workers = ALONE,
) -> Evaluation:
    """Evaluates on tasks 0 to `count` - 1 of a stream; the learner is left as it was.

    Args:
        learner: what is evaluated.
        tasks: stream of tasks.
        count: number of tasks, at least 2 (one has no interval).
        steps: gradient steps K, 0 or more.
        progress: called with the number of tasks done.
        workers: the processes that share the tasks out; each gets the whole result.

    Raises:
        SettingsError: if `count` or `steps` is too small.
    """
    if count < 2 or steps < 0:
        raise SettingsError(f"{count} tasks, {steps} steps: needed at least 2 tasks and 0 steps")
    own = workers.share(count)
    # One row a task: accuracies after every step, then losses.
    rows = torch.zeros(count, 2, steps + 1, dtype=torch.float64)
    with learner.evaluating(), all_random("evaluation", tasks.seed, tasks.name):
        for start in range(own.start, own.stop, BLOCK):
            block = range(start, min(start + BLOCK, own.stop))
            rows[block.start : block.stop] = _score(learner, tasks, block, steps)
            if progress:
                progress(block.stop * count // own.stop)
    rows = rows.to(learner.device if learner.device.type == "cuda" else "cpu")
    workers.sum(rows)
    accuracies, losses = rows.permute(1, 2, 0).tolist()
    return Evaluation(
        tasks=count,
        steps=steps,
        accuracy_per_step=[mean(column) for column in accuracies],
        ci95_per_step=[half_width(column) for column in accuracies],
        loss_per_step=[mean(column) for column in losses],
    )


def _score(learner: Learner, tasks: Tasks, block: range, steps: int) -> torch.Tensor:
    """Accuracies and losses after every step of the tasks in a block: (tasks, 2, K + 1)."""

    def score_chunk(chunk: TaskBatch, engine: Engine) -> torch.Tensor:
        scores = learner.score_steps(chunk, steps, engine)
        accuracies = torch.stack([step.accuracies for step in scores], dim=1)
        losses = torch.stack([step.losses for step in scores], dim=1)
        return torch.stack([accuracies, losses.to(accuracies)], dim=1)

    key = ("evaluation", tasks.seed, tasks.name)
    drawn = tasks.batch(block.start, len(block))
    return torch.cat(map_tasks(learner, score_chunk, drawn, key, block.start))


def mean(values: list[float]) -> float:
    """The average, summed without rounding error."""
    return math.fsum(values) / len(values)


def half_width(values: list[float]) -> float:
    """Half width of the 95 % confidence interval of the mean of two or more values."""
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    return NORMAL_95 * math.sqrt(variance / len(values))
