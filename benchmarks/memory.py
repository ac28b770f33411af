"""Measures peak memory of a second-order meta-update, by inner steps and by tasks.

Every point is a process of its own: what it takes beyond a process that only drew the tasks.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.loops import learn2learn_loop, package_loop
from benchmarks.speed import LR, Setting, draw
from l2l_omniglot._util.rng import all_random
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.meta.by_steps import maml_by_steps

STEPS = (1, 2, 4, 8, 16)
TASKS = (2, 8, 16, 32, 64)


def peak(kind: str, steps: int, tasks: int) -> float:
    """Returns the peak in megabytes of a process with three updates; with none for `kind` none."""
    command = [sys.executable, "-m", "benchmarks.memory", "--point", kind, str(steps), str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def run_point(kind: str, steps: int, tasks: int) -> float:
    """Makes the updates in this process; returns its peak in megabytes."""
    drawn = draw(Setting(5, 1, False, steps), tasks, 15)
    with all_random("benchmark"):
        network = make_backbone("basenet", ways=5)
    if kind == "loop":
        update = learn2learn_loop(drawn, network, LR, steps, False)
    else:
        rule = maml_by_steps if kind == "again" else "maml"
        update = package_loop(drawn, network, LR, max(steps, 1), False, "auto", rule=rule)
    for _ in range(3 if kind != "none" else 0):
        update()
    return peak_memory()


def peak_memory() -> float:
    """Returns this process's peak in megabytes (VmHWM; ru_maxrss counts the parent's, too)."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def curve(
    title: str, points: Sequence[tuple[int, int]], numbers: Sequence[int], base: float
) -> str:
    """Returns a table of peaks, less that of a process without updates."""
    lines = []
    for (steps, tasks), number in zip(points, numbers, strict=True):
        peaks = [f"{peak(kind, steps, tasks) - base:.0f} MB" for kind in ("auto", "again", "loop")]
        lines.append((str(number), *peaks))
    return table((title, "this package", "--checkpoint-steps", "learn2learn's loop"), lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the two curves."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--most", type=int, default=64, help="largest number of steps and tasks (64)"
    )
    parser.add_argument("--point", nargs=3, metavar=("KIND", "STEPS", "TASKS"))
    given = parser.parse_args(arguments)
    if given.point:
        kind, steps, tasks = given.point
        print(run_point(kind, int(steps), int(tasks)))
        return
    by_steps = [steps for steps in STEPS if steps <= given.most]
    by_tasks = [tasks for tasks in TASKS if tasks <= given.most]
    depth, count = min(5, given.most), min(8, given.most)
    base = peak("none", 1, count)
    print("BaseNet, 5-way 1-shot, 15 queries, second order; beyond what the first tasks take\n")
    points = [(number, count) for number in by_steps]
    print(curve(f"inner steps, {count} tasks", points, by_steps, base), flush=True)
    print()
    points = [(depth, number) for number in by_tasks]
    print(curve(f"tasks, {depth} inner steps", points, by_tasks, base), flush=True)


if __name__ == "__main__":
    main()
