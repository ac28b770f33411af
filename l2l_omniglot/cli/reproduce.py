"""``l2l-omniglot reproduce``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.interrupt import graceful_stop
from l2l_omniglot.progress import CountProgress, TrainingProgress, say
from l2l_omniglot.recipes import ALGORITHMS, DEVICES

if TYPE_CHECKING:
    from l2l_omniglot.experiment import Experiment
    from l2l_omniglot.recipes import Settings
    from l2l_omniglot.reproduce import Cell
    from l2l_omniglot.training import TrainingRun


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command()
@click.option(
    "--settings",
    "sizes",
    default="5w1s,5w5s,20w1s,20w5s",
    show_default=True,
    callback=_names,
    help="Ways and shots, separated by commas.",
)
@click.option(
    "--backbones", default="basenet,cnn4", show_default=True, callback=_names, help="Networks."
)
@click.option(
    "--algorithms",
    default="maml",
    show_default=True,
    callback=_names,
    help=f"Of {', '.join(ALGORITHMS)}.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Minutes of training for all cells, shared out evenly (whole recipes).",
)
@click.option("--iterations", type=int, default=None, help="Meta-updates a cell (recipe).")
@click.option(
    "--tasks",
    type=click.IntRange(min=2),
    default=1000,
    show_default=True,
    help="Test tasks a cell.",
)
@click.option("--data", default="omniglot", show_default=True, help="See `train`.")
@click.option("--split", default="tutorial", show_default=True, help="See `train`.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and tasks.")
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduce"),
    show_default=True,
    help="Folder of runs and results.",
)
def reproduce(
    sizes: list[str],
    backbones: list[str],
    algorithms: list[str],
    budget: float | None,
    tasks: int,
    device: str,
    out: Path,
    **values: Any,
) -> None:
    """Train and evaluate a grid, and set it beside published figures.

    Every cell is a run under --out, by the default recipe. The same command goes on where it
    was stopped, with the cells that have iterations left. Writes results.md, results.csv,
    results.json and steps.png.
    """
    from l2l_omniglot.plot import check_plotting
    from l2l_omniglot.reproduce import grid, run_cell, write_results

    check_plotting()
    cells = grid(sizes, backbones, algorithms)
    if not cells:
        raise click.UsageError("the grid is empty; needed a setting, a backbone, an algorithm")
    all_settings = [cell.settings(**values) for cell in cells]  # wrong ones are told now
    builder, watcher, results = _Builder(device), _Watcher(), []
    ends = None if budget is None else time.monotonic() + 60 * budget
    with graceful_stop() as stop:
        for number, (cell, settings) in enumerate(zip(cells, all_settings, strict=True)):
            left = None if ends is None else max(0.0, ends - time.monotonic()) / 60
            minutes = None if left is None else max(left / (len(cells) - number), 1e-3)
            result = run_cell(
                cell, builder, settings, out / cell.name, minutes, tasks, watcher, stop
            )
            if result is None:
                say("Stopped; the same command goes on.")
                raise SystemExit(128 + (stop.signal or 2))
            results.append(result)
            write_results(results, out)
    click.echo((out / "results.md").read_text(encoding="utf-8"))


class _Builder:
    """Builds experiments on one stack, opened once."""

    def __init__(self, device: str) -> None:
        from l2l_omniglot.heap import keep_freed_memory

        keep_freed_memory()
        self._device = device
        self._stack: Any = None

    def __call__(self, settings: Settings) -> Experiment:
        from l2l_omniglot.data import open_data
        from l2l_omniglot.experiment import Experiment

        if self._stack is None:
            with CountProgress("preparing", "character") as progress:
                self._stack = open_data(settings, say, progress)
        return Experiment.build(settings, self._stack, self._device)


@dataclasses.dataclass
class _Watcher:
    """Says on stderr what the grid does."""

    progress: TrainingProgress | None = None

    def begins(self, cell: Cell, settings: Settings, minutes: float | None) -> None:
        limit = "" if minutes is None else f", at most {minutes:.1f} minutes"
        say(f"{cell.name}: {settings.iterations} iterations{limit}")

    def observer(self, settings: Settings) -> TrainingProgress:
        self.progress = TrainingProgress(settings.iterations, settings.meta_batch_size)
        return self.progress

    @contextmanager
    def training(self, run: TrainingRun) -> Iterator[None]:
        assert self.progress is not None
        with self.progress.watching(run.trainer.iteration):
            yield
