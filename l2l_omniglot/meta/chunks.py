"""Maps a function over tasks in chunks, with the engine that suits them, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

from l2l_omniglot._util.rng import all_random, random_states, reseed
from l2l_omniglot.data.tasks import Task, TaskBatch
from l2l_omniglot.meta.engines import Engine
from l2l_omniglot.meta.learner import Learner

R = TypeVar("R")


def map_chunks(
    learner: Learner,
    function: Callable[[TaskBatch, Engine], R],
    tasks: Iterable[Task],
    key: tuple[object, ...],
    first: int,
) -> list[R]:
    """Applies `function` to chunks of the tasks; results come in the order of the tasks.

    The engine decides how many tasks make a chunk. Chunks are computed one after the other, or,
    if the engine prefers that on a CPU, as many at a time as torch has threads, each with one
    thread. A backbone that draws random numbers is an exception, since their order matters: its
    tasks go one by one through the learn2learn engine, each with a random state that depends on
    its number, so that it does not matter which process computes it.

    Call it inside `all_random` only. The tasks have the same sizes; all are drawn before any is
    computed. `function` must not change the learner. `key` is that of the random states, and
    `first` the number of the first task under it.
    """
    drawn = list(tasks)
    if not drawn:
        return []
    draws = draws_random_numbers(learner, drawn[0])
    engine = learner.reference if draws else learner.choose(drawn[0]).engine
    size = engine.tasks_at_once(max(drawn[0].support.numel(), drawn[0].query.numel()))

    def compute(start: int) -> R:
        if draws:
            reseed(*key, first + start)
        return function(learner.batch(drawn[start : start + size]), engine)

    starts, threads = range(0, len(drawn), size), torch.get_num_threads()
    by_chunk = engine.threads_share == "chunks" and learner.device.type == "cpu" and not draws
    if not by_chunk or threads == 1:
        return list(map(compute, starts))
    # For the whole process while it lasts: autograd gives a thread the count that was set last.
    torch.set_num_threads(1)
    try:
        return list(_pool(threads).map(compute, starts))
    finally:
        torch.set_num_threads(threads)


def draws_random_numbers(learner: Learner, task: Task) -> bool:
    """Returns whether the backbone, in its present mode, draws from a global random generator.

    Each mode is tried once, with one forward pass; the generators are restored afterwards.
    """
    mode = learner.backbone.training
    if mode not in learner.draws:
        with all_random("draws"), torch.no_grad():
            before = random_states()
            query = learner.batch([task]).query
            learner.reference.start(1, learner.loop()).logits(query)
            learner.draws[mode] = random_states() != before
    return learner.draws[mode]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Keeps the threads for the next meta-batch; another number of them lets the old ones end."""
    return ThreadPoolExecutor(threads, "task")
