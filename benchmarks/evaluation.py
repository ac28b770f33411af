"""Times the evaluation of 500 tasks by each engine, in one mode of batch norm and in both."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product
from statistics import median

from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.learner import Learner

STEPS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per engine."""
    parser = argparse.ArgumentParser(prog="benchmarks.evaluation", description=__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="number of tasks (500)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the median counts (3)")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    tasks = Tasks(synthetic_stack(classes=60), range(60), name="test")
    learners = {name: Learner(BaseNet(), 0.04, engine=name) for name in ("learn2learn", "stacked")}
    kinds = list(product(learners, ("transductive", "both")))
    times: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for learner in learners.values():
        evaluate(learner, tasks, min(32, given.tasks), STEPS)
    for _ in range(given.rounds):
        for name, mode in kinds:
            start = time.perf_counter()
            evaluate(learners[name], tasks, given.tasks, STEPS, batch_norm=mode)
            times[name, mode].append(time.perf_counter() - start)
    rows = [(*kind, f"{median(seconds):.1f} s") for kind, seconds in times.items()]
    title = f"evaluating {given.tasks} tasks, 5-way 1-shot, {STEPS} steps"
    print(table((title, "batch norm", "median"), rows))


if __name__ == "__main__":
    main()
