"""Measures minutes until 90 % and 95 % validation accuracy: default and tutorial recipe."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from l2l_omniglot._util.text import table
from l2l_omniglot.experiments.run_folder import MetricsRow, RunFolder

RECIPES = ("default", "tutorial")
LEVELS = (0.90, 0.95)


def train(recipe: str, minutes: float, folder: Path, rest: Sequence[str]) -> list[MetricsRow]:
    """Trains in a process of its own; returns its validations."""
    command = [
        sys.executable, "-m", "l2l_omniglot", "train", "--recipe", recipe,
        "--time-limit", str(minutes), "--run-dir", str(folder), *rest,
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return RunFolder(folder).read_metrics()


def row(recipe: str, validations: Sequence[MetricsRow]) -> tuple[str, ...]:
    """Returns when each level was first reached, and the best accuracy."""
    found = [recipe]
    for level in LEVELS:
        reached = [entry.minutes for entry in validations if entry.validation_accuracy >= level]
        found.append(f"{reached[0]:.1f} min" if reached else "not reached")
    best = max(validations, key=lambda entry: entry.validation_accuracy)
    accuracy = f"{best.validation_accuracy:.1%} ± {best.validation_ci95:.1%}"
    return (*found, accuracy, f"{validations[-1].minutes:.1f} min")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per recipe; passes unknown options to `l2l-omniglot train`."""
    parser = argparse.ArgumentParser(prog="benchmarks.time_to_accuracy", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="per recipe (20)")
    given, rest = parser.parse_known_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in RECIPES:
            rows.append(row(recipe, train(recipe, given.minutes, Path(folder) / recipe, rest)))
    levels = [f"until {level:.0%}" for level in LEVELS]
    print(table(("recipe", *levels, "best validation", "trained"), rows))


if __name__ == "__main__":
    main()
