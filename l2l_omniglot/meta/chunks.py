"""Tasks in chunks, through the engine that suits them, on all cores."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch

from l2l_omniglot._util.rng import all_random, reseed
from l2l_omniglot.data.tasks import Task, TaskBatch
from l2l_omniglot.meta.engines import Engine
from l2l_omniglot.meta.learner import Learner

R = TypeVar("R")


def map_tasks(
    learner: Learner,
    function: Callable[[TaskBatch, Engine], R],
    tasks: Iterable[Task],
    key: tuple[object, ...],
    first: int,
) -> list[R]:
    """Applies `function` to chunks of the tasks; results come in the order of the tasks.

    How many tasks make a chunk is the engine's word. The chunks are computed one by one, unless
    the engine wants the threads of a CPU to share them out: then as many are computed at a time
    as torch has threads, each with one. Not so for a backbone that draws random numbers, since
    their order decides: its tasks go one by one through the learn2learn engine, each with a
    random state that depends on its number, so that it does not matter who computes which.

    To be used inside `all_random`.

    Args:
        learner: what computes.
        function: called with every chunk and the engine that is to compute it; must leave the
            learner as it is.
        tasks: of the same sizes, e.g. a meta-batch; drawn before any is computed.
        key: of the random state of tasks that draw from it.
        first: number of the first task under that key.
    """
    drawn = list(tasks)
    if not drawn:
        return []
    engine = learner.choose(drawn[0]).engine
    draws = draws_random_numbers(learner, drawn[0])
    if draws:
        return _one_by_one(learner, function, drawn, key, first)
    size = engine.tasks_at_once(max(drawn[0].support.numel(), drawn[0].query.numel()))
    chunks = [drawn[start : start + size] for start in range(0, len(drawn), size)]

    def compute(chunk: list[Task]) -> R:
        return function(learner.batch(chunk), engine)

    workers = torch.get_num_threads()
    shared_out = engine.threads_share == "chunks" and learner.device.type == "cpu"
    if not shared_out or workers == 1:
        return [compute(chunk) for chunk in chunks]
    # For the whole process while it lasts: autograd gives a thread the count that was set last.
    torch.set_num_threads(1)
    try:
        return list(_pool(workers).map(compute, chunks))
    finally:
        torch.set_num_threads(workers)


def _one_by_one(
    learner: Learner,
    function: Callable[[TaskBatch, Engine], R],
    tasks: list[Task],
    key: tuple[object, ...],
    first: int,
) -> list[R]:
    results = []
    for number, task in enumerate(tasks, first):
        reseed(*key, number)
        results.append(function(learner.batch([task]), learner.reference))
    return results


def draws_random_numbers(learner: Learner, task: Task) -> bool:
    """Whether the backbone, in its present mode, draws from one of the global generators.

    Tried once a mode, with one forward pass; the generators are put back to where they were.
    """
    mode = learner.backbone.training
    if mode not in learner.draws:
        with all_random("draws"):
            before = _states()
            batch = learner.batch([task])
            with torch.no_grad():
                learner.reference.start(1, first_order=True).logits(batch.query)
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
