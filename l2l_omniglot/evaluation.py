"""Evaluation: fine-tune a copy on each of many tasks, score after every step, average."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.learner import Learner
from l2l_omniglot.parallel import map_tasks
from l2l_omniglot.randomness import all_random
from l2l_omniglot.tasks import Tasks

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
) -> Evaluation:
    """Evaluates on tasks 0 to `count` - 1 of a stream; the learner is left as it was.

    Args:
        learner: what is evaluated.
        tasks: stream of tasks.
        count: number of tasks, at least 2 (one has no interval).
        steps: gradient steps K, 0 or more.
        progress: called with the number of tasks done.

    Raises:
        SettingsError: if `count` or `steps` is too small.
    """
    if count < 2 or steps < 0:
        raise SettingsError(f"{count} tasks, {steps} steps: needed at least 2 tasks and 0 steps")
    accuracies: list[list[float]] = []
    losses: list[list[float]] = []
    score_steps = partial(learner.score_steps, steps=steps)
    with learner.evaluating(), all_random("evaluation", tasks.seed, tasks.name):
        for start in range(0, count, BLOCK):
            block = tasks.batch(start, min(BLOCK, count - start))
            for scores in map_tasks(learner, score_steps, block):
                accuracies.append([score.accuracy for score in scores])
                losses.append([score.loss.item() for score in scores])
                if progress:
                    progress(len(accuracies))
    by_step = [list(column) for column in zip(*accuracies, strict=True)]
    return Evaluation(
        tasks=count,
        steps=steps,
        accuracy_per_step=[mean(column) for column in by_step],
        ci95_per_step=[half_width(column) for column in by_step],
        loss_per_step=[mean(list(column)) for column in zip(*losses, strict=True)],
    )


def mean(values: list[float]) -> float:
    """The average, summed without rounding error."""
    return math.fsum(values) / len(values)


def half_width(values: list[float]) -> float:
    """Half width of the 95 % confidence interval of the mean of two or more values."""
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    return NORMAL_95 * math.sqrt(variance / len(values))
