"""``make bench``: speed, drawing, evaluation and memory, one after the other, in ten minutes."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from benchmarks import data, evaluation, memory, protonet, speed

Part: TypeAlias = Callable[[Sequence[str]], None]
# Each with the options that make it quick.
PARTS: dict[str, tuple[Part, str]] = {
    "Speed": (speed.main, "--seconds 0 --tasks 1 --queries 1 --settings 5-way"),
    "Prototypical networks": (protonet.main, "--seconds 0 --ways 5 --queries 2"),
    "Drawing tasks": (data.main, "--rounds 1 --classes 10"),
    "Evaluation": (evaluation.main, "--tasks 4 --rounds 1"),
    "Memory": (memory.main, "--most 2"),
}


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    quick = parser.parse_args().quick
    print(
        f"{platform.platform()}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )
    for title, (part, options) in PARTS.items():
        print(f"\n## {title}\n", flush=True)
        part(options.split() if quick else [])


if __name__ == "__main__":
    main()
