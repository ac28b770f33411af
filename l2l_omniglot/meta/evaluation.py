"""Evaluation: adapts a copy to each of many tasks, scores it after every step, averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from scipy.special import stdtrit

from l2l_omniglot._util.rng import all_random
from l2l_omniglot._util.text import counted
from l2l_omniglot.backbones import EVALUATED
from l2l_omniglot.data.tasks import Task, TaskBatch
from l2l_omniglot.errors import check_choice, check_number
from l2l_omniglot.meta.chunks import map_chunks
from l2l_omniglot.meta.engines import Engine
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.workers import ALONE, Workers

BLOCK = 16  # tasks drawn at a time, so that memory does not grow with their number
# Called with a task's number, the task, and by mode the final predictions for its queries: labels,
# int64 (ways * queries,) on the CPU.
OnTask: TypeAlias = Callable[[int, Task, dict[str, torch.Tensor]], None]


class TaskStream(Protocol):
    """Gives tasks by number, e.g. `Tasks`; `seed` and `name` identify the stream."""

    seed: int
    name: str

    def batch(self, start: int, count: int) -> Iterator[Task]:
        """Yields tasks `start` to `start + count - 1`."""


@dataclass(frozen=True)
class Curve:
    """Results in one mode of batch normalisation, before adapting and after each of K steps.

    Attributes:
        accuracy_per_step: mean over tasks, fractions in [0, 1].
        ci95_per_step: half width of the 95 % confidence interval of that mean over tasks
            (Student's t: 1.96 standard errors for many tasks, more for few).
        loss_per_step: mean query cross-entropy in nats.
        lead_per_step: how much higher the accuracy is than after the last step: the mean over
            tasks of the difference within each, in [-1, 1].
        lead_ci95_per_step: half width of the interval of that mean.
        accuracy_per_task: every task's accuracy after the last step.
    """

    accuracy_per_step: list[float]
    ci95_per_step: list[float]
    loss_per_step: list[float]
    lead_per_step: list[float]
    lead_ci95_per_step: list[float]
    accuracy_per_task: list[float] = field(repr=False)

    @property
    def accuracy(self) -> float:
        """Returns the accuracy after the last step."""
        return self.accuracy_per_step[-1]

    @property
    def ci95(self) -> float:
        """Returns the half-width of its interval after the last step."""
        return self.ci95_per_step[-1]

    @property
    def loss(self) -> float:
        """Returns the loss after the last step."""
        return self.loss_per_step[-1]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Results over many tasks, after K gradient steps.

    Attributes:
        tasks, steps: their numbers.
        curves: by mode of batch normalisation: first ``transductive``, where each task's
            queries are normalised together, then ``inductive``, where no query sees another.
    """

    tasks: int
    steps: int
    curves: dict[str, Curve]

    @property
    def batch_norm(self) -> str:
        """Returns the mode of the figures below: transductive if it was evaluated."""
        return next(iter(self.curves))

    @property
    def curve(self) -> Curve:
        """Returns the results in that mode."""
        return self.curves[self.batch_norm]

    @property
    def accuracy(self) -> float:
        """Returns the accuracy after the last step."""
        return self.curve.accuracy

    @property
    def ci95(self) -> float:
        """Returns the half-width of its interval after the last step."""
        return self.curve.ci95

    @property
    def loss(self) -> float:
        """Returns the loss after the last step."""
        return self.curve.loss

    def __repr__(self) -> str:
        return f"Evaluation({self})"

    def __str__(self) -> str:
        figures = [
            f"{curve.accuracy:.2%} ± {curve.ci95:.2%} ({mode} batch norm)"
            for mode, curve in self.curves.items()
        ]
        return f"{', '.join(figures)} after {counted(self.steps, 'step')}, {self.tasks} tasks"


def evaluate(
    learner: Learner,
    tasks: TaskStream,
    count: int = 500,
    steps: int = 5,
    progress: Callable[[int], None] | None = None,
    workers: Workers = ALONE,
    batch_norm: str = "transductive",
    on_task: OnTask | None = None,
) -> Evaluation:
    """Evaluates on tasks 0 to `count` - 1 of a stream; the learner is left unchanged.

    Args:
        learner: what is evaluated.
        tasks: stream of tasks.
        count: number of tasks, at least 2 (one has no interval).
        steps: gradient steps K, 0 or more.
        progress: called with the number of tasks done.
        workers: the processes that share the tasks; each gets the whole result.
        batch_norm: ``transductive``, ``inductive`` or ``both``; see `Learner.score_steps`.
        on_task: called with the predictions of each of this worker's tasks, in order.

    Raises:
        SettingsError: if `count` or `steps` is too small or `batch_norm` unknown.
        BackboneError: if the backbone cannot be evaluated inductively.
    """
    check_number("count", count, minimum=2)
    check_number("steps", steps, minimum=0)
    check_choice("batch_norm", batch_norm, EVALUATED)
    modes = EVALUATED[batch_norm]
    if "inductive" in modes:
        learner.check_inductive(next(tasks.batch(0, 1)))
    share = workers.share(count)
    # A task's accuracies after every step, then its losses, in each mode.
    rows = torch.zeros(count, len(modes), 2, steps + 1, dtype=torch.float64)
    key = ("evaluation", tasks.seed, tasks.name)
    with learner.evaluating(), all_random(*key):
        for start in range(share.start, share.stop, BLOCK):
            block = range(start, min(start + BLOCK, share.stop))
            drawn = list(tasks.batch(block.start, len(block)))
            figures, predictions = _score(learner, drawn, steps, modes, key, block.start)
            rows[block.start : block.stop] = figures
            if on_task is not None:
                for number, task, labels in zip(block, drawn, predictions, strict=True):
                    on_task(number, task, dict(zip(modes, labels, strict=True)))
            if progress:
                progress(block.stop * count // share.stop)
    rows = rows.to(learner.device if learner.device.type == "cuda" else "cpu")
    workers.sum(rows)
    by_mode = zip(modes, rows.permute(1, 2, 3, 0).tolist(), strict=True)
    return Evaluation(count, steps, {mode: _curve(*figures) for mode, figures in by_mode})


def _curve(hits: list[list[float]], losses: list[list[float]]) -> Curve:
    """Averages accuracies and losses, (K + 1, tasks), over tasks."""
    leads = [[a - b for a, b in zip(step, hits[-1], strict=True)] for step in hits]
    means, half_widths = list(map(mean, hits)), list(map(half_width, hits))
    lead = list(map(mean, leads)), list(map(half_width, leads))
    return Curve(means, half_widths, list(map(mean, losses)), *lead, hits[-1])


def _score(
    learner: Learner,
    drawn: list[Task],
    steps: int,
    modes: Sequence[str],
    key: tuple[object, ...],
    first: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns accuracies, losses (tasks, modes, 2, K + 1); predictions (tasks, modes, queries)."""

    def score_chunk(chunk: TaskBatch, engine: Engine) -> tuple[torch.Tensor, torch.Tensor]:
        scores = learner.score_steps(chunk, steps, engine, modes)
        flat = [mode for step in scores for mode in step]
        accuracies = torch.stack([mode.accuracies for mode in flat])
        losses = torch.stack([mode.losses for mode in flat]).to(accuracies)
        by_step = torch.stack([accuracies, losses]).view(2, steps + 1, len(modes), -1)
        predictions = torch.stack([mode.predictions for mode in scores[-1]], dim=1)
        return by_step.permute(3, 2, 0, 1), predictions.cpu()

    figures, predictions = zip(*map_chunks(learner, score_chunk, drawn, key, first), strict=True)
    return torch.cat(figures), torch.cat(predictions)


def mean(values: list[float]) -> float:
    """Returns the mean, summed without rounding error."""
    return math.fsum(values) / len(values)


def half_width(values: list[float]) -> float:
    """Returns the half width of the 95 % confidence interval of two or more values' mean."""
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    quantile = float(stdtrit(len(values) - 1, 0.975))  # Student's t
    return quantile * math.sqrt(variance / len(values))
