"""Measures minutes until validation reaches a level, each recipe in a training of so many minutes.

The learning rate falls over the iterations, so their number decides how soon a level is reached:
a short training first tells how many fit into the minutes.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l2l_omniglot._util.text import table
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.run_folder import RunFolder

VALIDATIONS = 20  # of a training
PROBE, SHARE = 0.1, 0.9  # of the minutes: for the speed beforehand, and for updates afterwards


@dataclass(frozen=True)
class Goal:
    """A level of validation accuracy, and the most minutes until it is reached."""

    recipe: str
    ways: int
    level: float
    minutes: float

    @property
    def options(self) -> list[str]:
        """Returns those of `l2l-omniglot train`."""
        return ["--recipe", self.recipe, "--ways", str(self.ways), "--shots", "1"]


GOALS = (Goal("default", 5, 0.95, 10), Goal("best", 5, 0.95, 3), Goal("best", 20, 0.90, 6))


def train(options: Sequence[str], folder: Path, workers: int) -> list[MetricsRow]:
    """Trains in processes of its own; returns its validations."""
    start = [sys.executable, "-m"]
    if workers > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={workers}", "-m"]
    command = [*start, "l2l_omniglot", "train", *options, "--run-dir", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return [row for row in RunFolder(folder).read_metrics() if row.validated]


def plan(goal: Goal, minutes: float, folder: Path, workers: int, rest: Sequence[str]) -> list[str]:
    """Returns the options of a training that takes about so many minutes."""
    short = ["--time-limit", f"{PROBE * minutes:g}", "--validation-tasks", "2"]
    (*_, last) = train([*goal.options, *rest, *short], folder, workers)
    iterations = max(VALIDATIONS, int(last.iteration * SHARE / PROBE))
    every = iterations // VALIDATIONS
    chosen = ["--iterations", str(iterations), "--validation-every", str(every)]
    return [*goal.options, *rest, *chosen]


def row(goal: Goal, validations: Sequence[MetricsRow]) -> tuple[str, ...]:
    """Returns when the level was first reached, and the best accuracy."""
    reached = [row.minutes for row in validations if row.validation_accuracy >= goal.level]
    best = max(validations, key=lambda entry: entry.validation_accuracy)
    return (
        goal.recipe,
        f"{goal.ways}-way 1-shot",
        f"{goal.level:.0%}",
        f"{reached[0]:.1f} min" if reached else "not reached",
        f"{goal.minutes:g} min",
        f"{best.validation_accuracy:.1%} ± {best.validation_ci95:.1%}",
        f"{validations[-1].minutes:.1f} min",
    )


HEADER = ("recipe", "tasks", "level", "reached after", "at most", "best validation", "trained")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per goal; passes unknown options to `l2l-omniglot train`."""
    parser = argparse.ArgumentParser(prog="benchmarks.time_to_accuracy", description=__doc__)
    parser.add_argument("--minutes", type=float, help="of each training (as many as the goal has)")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the tasks (1)")
    parser.add_argument("--goals", default="", help="only those of this recipe and ways: best-20")
    given, rest = parser.parse_known_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, goal in enumerate(GOALS):
            if given.goals not in f"{goal.recipe}-{goal.ways}":
                continue
            minutes = given.minutes or goal.minutes
            goal_folder = Path(folder) / str(number)
            options = plan(goal, minutes, goal_folder / "probe", given.workers, rest)
            print("l2l-omniglot train", shlex.join(options), flush=True)
            rows.append(row(goal, train(options, goal_folder / "run", given.workers)))
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
