"""Measures episodes per second of prototypical networks, beside a plain loop, in one process.

And the peak memory of each, in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

import torch

from benchmarks.loops import Update, package_protonet_loop, plain_protonet_loop
from benchmarks.memory import peak_memory
from l2l_omniglot._util.process import bfloat16_pays, keep_freed_memory
from l2l_omniglot._util.rng import all_random
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.conv4 import Conv4
from l2l_omniglot.data.synthetic import synthetic_stack

PLAIN = "plain loop, float32"
KINDS = (PLAIN, "--precision float32", "--precision auto")
CLASSES = 100


def make(kind: str, ways: int, queries: int) -> Update:
    """Builds one of the loops, each with the same network at its start."""
    with all_random("benchmark"):
        network = Conv4(ways=ways)
    stack = synthetic_stack(classes=max(CLASSES, ways))
    if kind == PLAIN:
        return plain_protonet_loop(stack, network, ways, 1, queries)
    auto = kind.endswith("auto") and bfloat16_pays("cpu")
    return package_protonet_loop(stack, network, ways, 1, queries, auto)


def measure(updates: Sequence[Update], seconds: float) -> list[float]:
    """Returns the median seconds of each update, all in turn for about that long, at least once."""
    for update in updates:
        update()
    times: list[list[float]] = [[] for _ in updates]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times[0]:
        for update, durations in zip(updates, times, strict=True):
            start = time.perf_counter()
            update()
            durations.append(time.perf_counter() - start)
    return [median(durations) for durations in times]


def peak(kind: str, ways: int, queries: int) -> float:
    """Returns the peak in megabytes of a process that makes three updates."""
    options = ["--point", kind, "--ways", str(ways), "--queries", str(queries)]
    command = [sys.executable, "-m", "benchmarks.protonet", *options]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per loop."""
    parser = argparse.ArgumentParser(prog="benchmarks.protonet", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="in all (30)")
    parser.add_argument("--ways", type=int, default=60, help="of an episode (60)")
    parser.add_argument("--queries", type=int, default=5, help="a class (5)")
    parser.add_argument("--point", metavar="LOOP", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    keep_freed_memory()
    if given.point:
        update = make(given.point, given.ways, given.queries)
        for _ in range(3):
            update()
        print(peak_memory())
        return
    times = measure([make(kind, given.ways, given.queries) for kind in KINDS], given.seconds)
    rows = [
        (
            kind,
            f"{1 / seconds:.2f}",
            f"{times[0] / seconds:.2f}",
            f"{peak(kind, given.ways, given.queries):.0f} MB",
        )
        for kind, seconds in zip(KINDS, times, strict=True)
    ]
    threads = torch.get_num_threads()
    print(f"conv4, {given.ways}-way 1-shot, {given.queries} queries a class, threads {threads}\n")
    print(table(("loop", "episodes/s", "times the plain loop", "peak memory"), rows), flush=True)


if __name__ == "__main__":
    main()
