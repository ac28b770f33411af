"""Seconds for evaluating 500 tasks, by each engine, in turn."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

from l2l_omniglot.basenet import BaseNet
from l2l_omniglot.evaluation import evaluate
from l2l_omniglot.heap import keep_freed_memory
from l2l_omniglot.learner import Learner
from l2l_omniglot.report import table
from l2l_omniglot.synthetic import synthetic_stack
from l2l_omniglot.tasks import Tasks

STEPS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line an engine."""
    parser = argparse.ArgumentParser(prog="benchmarks.evaluation", description=__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="(500)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (3)")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    tasks = Tasks(synthetic_stack(classes=60), range(60), name="test")
    learners = {name: Learner(BaseNet(), 0.04, engine=name) for name in ("learn2learn", "stacked")}
    times: dict[str, list[float]] = {name: [] for name in learners}
    for learner in learners.values():
        evaluate(learner, tasks, min(32, given.tasks), STEPS)
    for _ in range(given.rounds):
        for name, learner in learners.items():
            start = time.perf_counter()
            evaluate(learner, tasks, given.tasks, STEPS)
            times[name].append(time.perf_counter() - start)
    rows = [(name, f"{median(found):.1f} s") for name, found in times.items()]
    title = f"evaluating {given.tasks} tasks, 5-way 1-shot, {STEPS} steps"
    print(table((title, "median"), rows))


if __name__ == "__main__":
    main()
