"""Measures the memory of a process over many short meta-updates, which must stay flat."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path

from l2l_omniglot._util.text import table
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.settings import make_settings


def megabytes() -> float:
    """Returns the resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the memory after every tenth of the updates, with a validation at each."""
    parser = argparse.ArgumentParser(prog="benchmarks.leak", description=__doc__)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--backbone", default="fc")
    given = parser.parse_args(arguments)
    settings = make_settings(
        data="synthetic", backbone=given.backbone, queries=1, meta_batch_size=1,
        iterations=given.updates, validation_tasks=2,
    )  # fmt: skip
    experiment = Experiment.build(settings, open_data(settings))
    trainer, rows = experiment.trainer(), []
    while trainer.iteration < given.updates:
        trainer.step()
        if trainer.iteration % (given.updates // 10) == 0:
            gc.collect()
            rows.append((f"{trainer.iteration:,}", f"{megabytes():.1f}"))
    print(table(("meta-updates", "MB"), rows))


if __name__ == "__main__":
    main()
