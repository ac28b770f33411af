"""Tasks side by side on a CPU's cores: one thread a task, which beats many threads a task."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch

from l2l_omniglot.learner import Learner
from l2l_omniglot.randomness import all_random
from l2l_omniglot.tasks import Task

R = TypeVar("R")


def map_tasks(learner: Learner, function: Callable[[Task], R], tasks: Iterable[Task]) -> list[R]:
    """Applies `function` to every task; results come in the order of the tasks.

    On a CPU, as many tasks run at a time as torch has threads, each computing with one: the
    operations of a small network are too short to be shared out well, and a task's result does
    not depend on the number of threads. One by one, on the caller's thread, go tasks on other
    devices, and those of a backbone that draws random numbers, since their order decides.

    Args:
        learner: decides which of the two; `function` computes with it.
        function: called once a task; must leave the learner as it is.
        tasks: a meta-batch; drawn before any is computed.
    """
    batch = list(tasks)
    if not batch:
        return []
    if learner.device.type != "cpu" or draws_random_numbers(learner, batch[0]):
        return [function(task) for task in batch]
    workers = torch.get_num_threads()
    # For the whole process while it lasts: autograd gives a thread the count that was set last.
    torch.set_num_threads(1)
    try:
        return list(_pool(workers).map(function, batch))
    finally:
        torch.set_num_threads(workers)


def draws_random_numbers(learner: Learner, task: Task) -> bool:
    """Whether the backbone, in its present mode, draws from one of the global generators.

    Tried once a mode, with one forward pass; the generators are put back to where they were.
    """
    mode = learner.backbone.training
    if mode not in learner.draws:
        with all_random("draws"):
            before = _states()
            with torch.no_grad():
                learner.meta_score(task, 0)
            learner.draws[mode] = _states() != before
    return learner.draws[mode]


def _states() -> tuple[object, ...]:
    """Of Python's, NumPy's and torch's global generators."""
    kind, keys, *rest = np.random.get_state()
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), kind, np.asarray(keys).tobytes(), tuple(rest), torch_state


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads kept for the next meta-batch; a new number of them lets the old ones end."""
    return ThreadPoolExecutor(workers, "task")
