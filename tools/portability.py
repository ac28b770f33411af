"""Runs the tests as other machines would: `make portability`.

- What computes, under three sets of instructions, each with one thread and with two.
- What has processes, terminals and browsers, three times, in orders drawn by a seed, beside two
  loops that keep the processor busy: at about half this machine's speed.

    python -m tools.portability [numbers|processes] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

NUMBERS = ("backbones", "classify", "contract", "data", "experiments", "meta")
PROCESSES = ("_util", "cli", "experiments", "meta/test_workers.py", "page", "reports",
             "test_docs.py", "test_processes.py", "test_site.py", "test_soak.py")  # fmt: skip
# As torch and oneDNN, which it computes convolutions by, call them.
INSTRUCTIONS: dict[str, dict[str, str]] = {
    "all that there are": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "SSE4.1": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
THREADS = (1, 2)
ROUNDS = 3
LOOPS = 2
HOURS = 2.0  # that a loop lasts at most, should this be killed
LOOP = f"import time; end = time.monotonic() + {3600 * HOURS}\nwhile time.monotonic() < end: pass"


def main() -> None:
    """Runs what is asked for; ends with 1 if a test failed."""
    parser = argparse.ArgumentParser(description="Runs the tests as other machines would.")
    parser.add_argument("part", nargs="?", choices=("numbers", "processes"))
    parser.add_argument("--seed", type=int, default=0, help="of the first order of the tests")
    chosen = parser.parse_args()
    results: dict[str, str] = {}
    if chosen.part in {None, "numbers"}:
        for name, variables in INSTRUCTIONS.items():
            for threads in THREADS:
                row = f"numbers, instructions: {name}, threads: {threads}"
                results[row] = _pytest(NUMBERS, variables | {"TESTS_THREADS": str(threads)})
    if chosen.part in {None, "processes"}:
        with _busy():
            for seed in range(chosen.seed, chosen.seed + ROUNDS):
                row = f"processes, beside {LOOPS} loops, order {seed}"
                results[row] = _pytest(PROCESSES, {"TESTS_ORDER": str(seed)})
    for row, result in results.items():
        print(f"{result:>7}  {row}")
    sys.exit(any(not result.endswith("s") for result in results.values()))


def _pytest(folders: tuple[str, ...], variables: Mapping[str, str]) -> str:
    """Returns how long the tests took, or "failed"."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-q"]
    done = subprocess.run(
        [*command, *(f"tests/{folder}" for folder in folders)],
        env={**os.environ, **variables},
        check=False,
    )
    return f"{time.monotonic() - start:.0f} s" if done.returncode == 0 else "failed"


@contextmanager
def _busy() -> Iterator[None]:
    """Runs the loops in the block."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
