"""Measures each loop's tasks per second, in turn in one process, on the same tasks and network."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.loops import Update, learn2learn_loop, package_loop, tutorial_loop
from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot._util.rng import all_random
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.data.tasks import Task, Tasks

LR = 0.04
LONG = 60_000  # updates, as published recipes make
LEARN2LEARN, TUTORIAL = "learn2learn's loop (a)", "the tutorial's loop (b)"


@dataclass(frozen=True)
class Setting:
    """One setting: sizes, order, steps, and what they adapt."""

    ways: int
    shots: int
    first_order: bool
    steps: int
    adapt: str = "all"

    def __str__(self) -> str:
        order = "first" if self.first_order else "second"
        steps = f"{self.steps} step{'s' if self.steps > 1 else ''}"
        what = ", head alone" if self.adapt == "head" else ""
        return f"{self.ways}-way {self.shots}-shot, {order} order, {steps}{what}"


SETTINGS = [
    Setting(ways, shots, first_order, steps)
    for ways, shots in ((5, 1), (20, 1), (20, 5))
    for first_order in (True, False)
    for steps in (5, 1)
] + [Setting(ways, 1, first_order=False, steps=5, adapt="head") for ways in (5, 20)]


@dataclass(frozen=True)
class Measured:
    """One loop's median seconds per update, and floating-point operations per update."""

    name: str
    seconds: float
    operations: int


def draw(setting: Setting, count: int, queries: int) -> list[Task]:
    """Draws tasks of built-in characters."""
    stack = synthetic_stack(classes=60)
    ways, shots = setting.ways, setting.shots
    return list(Tasks(stack, range(60), ways=ways, shots=shots, queries=queries).batch(0, count))


def loops(
    setting: Setting, tasks: Sequence[Task], backbone: str, device: str, engines: Sequence[str]
) -> dict[str, Update]:
    """Builds every loop for a setting, each with its own copy of the same network.

    An engine is followed by ``:bfloat16`` to compute in that.
    """
    with all_random("benchmark"):
        network = make_backbone(backbone, ways=setting.ways).to(device)

    def fresh() -> nn.Module:
        return copy.deepcopy(network)

    order, steps = setting.first_order, setting.steps
    inner = steps, order, setting.adapt
    updates = {LEARN2LEARN: learn2learn_loop(tasks, fresh(), LR, *inner)}
    twin = fresh()
    if order and isinstance(twin, BaseNet):
        updates[TUTORIAL] = tutorial_loop(tasks, twin, LR, steps)
    for engine in engines:
        name, _, precision = engine.partition(":")
        half = precision == "bfloat16"
        update = package_loop(tasks, fresh(), LR, steps, order, name, half, adapt=setting.adapt)
        updates[f"engine {name}{', bfloat16' if half else ''}"] = update
    return updates


def measure(updates: dict[str, Update], device: str, seconds: float) -> list[Measured]:
    """Runs the loops in turn for about that long, at least once."""
    operations = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counter sees its own thread only
    for name, update in updates.items():
        with FlopCounterMode(display=False) as counter:
            update()
        operations[name] = counter.get_total_flops()
    torch.set_num_threads(threads)
    for update in updates.values():
        update()
    times: dict[str, list[float]] = {name: [] for name in updates}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times[LEARN2LEARN]:
        for name, update in updates.items():
            start = time.perf_counter()
            update()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return [Measured(name, median(times[name]), operations[name]) for name in updates]


def product_speed(device: str, size: int = 2048, *, rounds: int) -> float:
    """Measures the machine's float32 matrix product, in operations per second."""
    one, other = torch.rand(2, size, size, device=device)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / median(times)


def rows(measured: Sequence[Measured], tasks: int, speed: float) -> list[tuple[str, ...]]:
    """Returns the table's lines; every loop is credited with the work of the learn2learn loop."""
    by_name = {entry.name: entry for entry in measured}
    nominal = by_name[LEARN2LEARN].operations
    lines = []
    for entry in measured:
        ratios = [
            f"{by_name[base].seconds / entry.seconds:.2f}" if base in by_name else "-"
            for base in (LEARN2LEARN, TUTORIAL)
        ]
        lines.append((
            entry.name,
            f"{tasks / entry.seconds:.1f}",
            *ratios,
            f"{nominal / entry.seconds / speed:.0%}",
            f"{entry.operations / entry.seconds / speed:.0%}",
            f"{entry.seconds * LONG / 3600:.1f} h",
        ))  # fmt: skip
    return lines


HEADER = (
    "loop", "tasks/s", "/ (a)", "/ (b)", "of matrix product", "executed", f"{LONG:,} updates"
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one table per setting."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="per setting (20)")
    parser.add_argument("--tasks", type=int, default=8, help="per update (8)")
    parser.add_argument("--queries", type=int, default=15, help="per class (15)")
    parser.add_argument("--backbone", default="basenet")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--settings", default="", help="only those with this in their name")
    parser.add_argument("--engines", default="learn2learn,stacked,stacked:bfloat16")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    for setting in SETTINGS:
        if given.settings not in str(setting):
            continue
        if setting.adapt == "head" and given.backbone != "basenet":
            continue  # the loop beside it knows the parts of that one
        tasks = draw(setting, given.tasks, given.queries)
        updates = loops(setting, tasks, given.backbone, given.device, given.engines.split(","))
        measured = measure(updates, given.device, given.seconds)
        speed = product_speed(given.device, rounds=9 if given.seconds else 1)
        print(f"\n{given.backbone}, {setting}; matrix product {speed / 1e9:.0f} GFLOP/s\n")
        print(table(HEADER, rows(measured, given.tasks, speed)), flush=True)


if __name__ == "__main__":
    main()
