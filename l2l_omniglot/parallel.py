"""Tasks side by side on a CPU's cores: one thread a task, which beats many threads a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

from l2l_omniglot.learner import Learner
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
    """Whether a forward pass in the backbone's present mode draws from torch's generator.

    The generator is put back to where it was.
    """
    before = torch.get_rng_state()
    with torch.no_grad():
        learner.meta_score(task, 0)
    drawn = not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    return drawn


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads kept for the next meta-batch; a new number of them lets the old ones end."""
    return ThreadPoolExecutor(workers, "task")
