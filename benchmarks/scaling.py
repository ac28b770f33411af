"""Measures how an update's time grows with ways, shots, steps, tasks, image size, processes."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import interpolate

from benchmarks.loops import package_loop
from benchmarks.speed import LR, Setting, draw
from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.experiments.run_folder import RunFolder

QUERIES = 10


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement; every row starts from the defaults."""

    ways: int = 5
    shots: int = 1
    steps: int = 1
    tasks: int = 8
    size: int = 28


VALUES = {
    "ways": (5, 10, 20),
    "shots": (1, 5, 10),
    "steps": (1, 2, 5, 10),
    "tasks": (1, 8, 32),
    "size": (28, 56, 84),
}


def resized(task: Task, size: int) -> Task:
    """Returns the task with larger images."""
    support, query = (
        interpolate(images, size=(size, size)) for images in (task.support, task.query)
    )
    return task._replace(support=support, query=query)


def milliseconds(case: Case, rounds: int) -> float:
    """Returns the median time of a second-order update."""
    setting = Setting(case.ways, case.shots, False, case.steps)
    tasks = [resized(task, case.size) for task in draw(setting, case.tasks, QUERIES)]
    network = make_backbone("basenet", ways=case.ways, image_size=case.size)
    update = package_loop(tasks, network, LR, case.steps, False, "auto")
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        update()
        times.append(time.perf_counter() - start)
    return 1000 * median(times[1:])


def by_processes(count: int, iterations: int) -> float:
    """Returns tasks per second of a training by several workers, in the second half of its time."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            f"--nproc-per-node={count}", "-m", "l2l_omniglot", "train", "--data", "synthetic",
            "--iterations", str(iterations), "--meta-batch-size", "16",
            "--validation-every", str(iterations // 2), "--validation-tasks", "2",
            "--run-dir", str(run),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        rows = RunFolder(run).read_metrics()
        return median(row.tasks_per_second for row in rows if row.iteration > iterations // 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one table per factor."""
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="repetitions; the median counts (7)")
    parser.add_argument("--values", type=int, help="of each factor, the first so many (all)")
    parser.add_argument("--iterations", type=int, help="of each training (20 a repetition)")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    print(f"BaseNet, second order, {QUERIES} queries; by default {Case()}")
    for name, values in VALUES.items():
        times = [
            milliseconds(dataclasses.replace(Case(), **{name: value}), given.rounds)
            for value in values[: given.values]
        ]
        lines = [
            (str(value), f"{duration:.0f} ms", f"{duration / times[0]:.1f}")
            for value, duration in zip(values[: given.values], times, strict=True)
        ]
        print("\n" + table((name, "update", "times the first"), lines), flush=True)
    cores = torch.get_num_threads()
    counts = sorted({1, cores})
    iterations = given.iterations or 20 * given.rounds
    speeds = [by_processes(count, iterations) for count in counts]
    lines = [
        (str(count), f"{speed:.0f}", f"{speed / speeds[0]:.2f}")
        for count, speed in zip(counts, speeds, strict=True)
    ]
    print(f"\nTraining, 16 tasks per iteration, default recipe, {cores} cores\n")
    print(table(("processes", "tasks/s", "times one"), lines))


if __name__ == "__main__":
    main()
