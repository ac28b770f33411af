"""``l2l-omniglot reproduce``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot._util.process import graceful_stop
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import TrainingProgress, counting, echo_error, log
from l2l_omniglot.cli.options import (
    MINUTES,
    OutputPath,
    absolute,
    completing,
    device_option,
    known_backbones,
    open_stack,
    options,
    settings_options,
)
from l2l_omniglot.experiments.settings import ALGORITHMS

if TYPE_CHECKING:
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.experiments.reproduce import Condition
    from l2l_omniglot.experiments.settings import Settings
    from l2l_omniglot.experiments.training import Outcome, TrainingRun


KNOWN = ("5w1s", "5w5s", "20w1s", "20w5s")  # of `cells.SETTINGS`, which loads torch


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


grid_options = options(
    click.option("--settings", default=",".join(KNOWN), show_default=True,
                 callback=_names, shell_complete=completing(lambda: KNOWN),
                 help="Ways and shots, separated by commas."),
    click.option("--backbones", default="basenet,cnn4", show_default=True, callback=_names,
                 shell_complete=completing(known_backbones), help="Networks."),
    click.option("--algorithms", default="maml", show_default=True, callback=_names,
                 shell_complete=completing(lambda: ALGORITHMS),
                 help=f"Of {', '.join(ALGORITHMS)}."),
    click.option("--budget", type=MINUTES, default=None,
                 help="Minutes of training in all, of this call, shared out evenly; each cell's "
                      "last validation and evaluation come on top (none: whole recipes)."),
    click.option("--tasks", type=click.IntRange(min=2), default=1000, show_default=True,
                 help="Test tasks a cell."),
    settings_options("iterations", "data", "split", "seed"),
    device_option(),
    click.option("--out", type=OutputPath(folder=True), default=Path("reproduce"),
                 show_default=True, help="Folder of runs and results."),
)  # fmt: skip


@click.command(cls=Command, short_help="Train a grid beside published figures.")
@grid_options
def reproduce(
    settings: list[str],
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
    results.json and steps.png, for all cells under --out.
    """
    from l2l_omniglot.experiments.reproduce import Comparison, Stopped, conditions
    from l2l_omniglot.reports.plots import check_plotting
    from l2l_omniglot.reports.tables import write_results

    check_plotting()
    chosen = conditions(settings, backbones, algorithms)
    if not chosen:
        raise click.UsageError("the grid is empty; expected a setting, a backbone, an algorithm")
    watcher = _Watcher()
    made = Comparison(
        chosen, _Builder(device), out, tasks, watcher, write_results, **absolute(values)
    )
    try:
        errors = made.run(budget)
    except Stopped:
        echo_error("Stopped; the same command goes on.")
        raise SystemExit(128 + watcher.signal) from None
    if made.results():
        click.echo((out / "results.md").read_text(encoding="utf-8"))
    if errors:
        raise type(errors[0])("; ".join(map(str, errors)))


class _Builder:
    """Builds experiments on one stack, opened once."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stack: Any = None

    def __call__(self, settings: Settings) -> Experiment:
        from l2l_omniglot.experiments.experiment import Experiment

        if self._stack is None:
            self._stack = open_stack(settings)
        return Experiment.build(settings, self._stack, self._device)


class _Watcher:
    """Says on stderr what the grid does; Ctrl-C ends a training in good order."""

    def __init__(self) -> None:
        self.signal = 0
        self._progress = TrainingProgress(1, 1)

    def begins(self, condition: Condition, settings: Settings) -> None:
        log.info(f"{condition.name}: {settings.iterations} iterations")

    def observer(self, settings: Settings) -> TrainingProgress:
        self._progress = TrainingProgress(settings.iterations, settings.meta_batch_size)
        return self._progress

    def train(self, run: TrainingRun, minutes: float | None) -> Outcome:
        with graceful_stop() as stop, self._progress.watching(run.trainer.iteration):
            outcome = run.train(minutes, stop)
        self.signal = stop.signal or 0
        return outcome

    def evaluating(self, count: int) -> AbstractContextManager[Callable[[int], None]]:
        return counting("evaluating", "task", count)
