"""Compares the time of sampling a meta-batch with that of the update that uses it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.loops import package_loop
from benchmarks.speed import LR, Setting, draw
from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.data.tasks import Tasks

TASKS = 32
CASES = ((15, Setting(5, 1, True, 5)), (5, Setting(5, 1, False, 1)))


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    """Returns the median time of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def row(queries: int, setting: Setting, rounds: int, classes: int) -> tuple[str, ...]:
    """Times drawing 32 tasks from rotated classes, and one update on them."""
    stack = synthetic_stack(classes)
    stream = Tasks(stack, range(classes), queries=queries, rotations=True)
    network = make_backbone("basenet", ways=setting.ways)
    drawn = draw(setting, TASKS, queries)
    update = package_loop(drawn, network, LR, setting.steps, setting.first_order, "auto")
    update()
    sampling = milliseconds(lambda: list(stream.batch(0, TASKS)), rounds)
    updating = milliseconds(update, rounds)
    share = sampling / (sampling + updating)
    name = f"{setting}, {queries} queries"
    return name, f"{sampling:.1f} ms", f"{updating:.1f} ms", f"{share:.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per setting."""
    parser = argparse.ArgumentParser(prog="benchmarks.data", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=15, help="repetitions; the median counts (15)"
    )
    parser.add_argument(
        "--classes", type=int, default=1100, help="each in four rotations (1100, as in training)"
    )
    given = parser.parse_args(arguments)
    keep_freed_memory()
    header = (f"{TASKS} tasks", "drawing", "update", "share of drawing")
    print(table(header, [row(*case, given.rounds, given.classes) for case in CASES]))


if __name__ == "__main__":
    main()
