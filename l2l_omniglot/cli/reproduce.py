"""``l2l-omniglot reproduce``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot._util.process import graceful_stop
from l2l_omniglot.backbones.registry import backbone_names
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import TrainingProgress, counting, echo_error, log, say
from l2l_omniglot.errors import need
from l2l_omniglot.experiments.algorithms import ALGORITHMS
from l2l_omniglot.experiments.protocols import LAKE, OURS, PROTOCOLS, SETTINGS
from l2l_omniglot.experiments.recipes import RECIPES

if TYPE_CHECKING:
    from l2l_omniglot.data.stack import Stack
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.experiments.settings import Settings
    from l2l_omniglot.experiments.training import Outcome, TrainingRun


TASKS = 1000


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _algorithms(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    return [*ALGORITHMS] if value == "all" else _names(context, parameter, value)


comparison_options = options.combined(
    click.option("--settings", default=",".join(SETTINGS), show_default=True,
                 callback=_names, shell_complete=options.completing(lambda: SETTINGS),
                 help="Ways and shots, separated by commas."),
    click.option("--backbones", default="basenet,cnn4", show_default=True, callback=_names,
                 shell_complete=options.completing(backbone_names),
                 help="Networks, separated by commas."),
    click.option("--algorithms", default="maml", show_default=True, callback=_algorithms,
                 shell_complete=options.completing(lambda: ALGORITHMS),
                 help=f"Some of {', '.join(ALGORITHMS)}, separated by commas; or all."),
    click.option("--recipe", type=options.Name(RECIPES), default="default", show_default=True,
                 help="Recipe to start from; paper: each algorithm by its own."),
    click.option("--protocol", type=options.Name([name for name in PROTOCOLS if name != LAKE]),
                 default=OURS, show_default=True,
                 help="Train on a paper's split and test as it does, beside its figures."),
    click.option("--budget", type=options.MINUTES, default=None,
                 help="Minutes of training in all, shared evenly by the conditions; last "
                      "validations and evaluations come on top (none: whole recipes)."),
    click.option("--tasks", type=click.IntRange(2, options.COUNT), default=None,
                 help=f"Test tasks per condition (as the protocol, else {TASKS})."),
    options.settings_options("iterations", "data", "split", "seed"),
    options.device_option(),
    click.option("--out", type=options.OutputPath(folder=True), default=Path("reproduce"),
                 show_default=True, help="Folder for runs and results."),
)  # fmt: skip


@click.command(cls=Command, short_help="Train networks and compare them, and with papers.")
@comparison_options
def reproduce(
    settings: list[str],
    backbones: list[str],
    algorithms: list[str],
    recipe: str,
    protocol: str,
    budget: float | None,
    tasks: int | None,
    device: str,
    out: Path,
    **values: Any,
) -> None:
    """Train and evaluate networks, and compare them.

    A condition is a setting, a backbone and an algorithm. Each is trained by the same recipe, in a
    run folder under --out. After a stop, or with iterations left, the same command goes on.
    Writes results.md, results.csv, results.json and steps.png about all conditions under --out.
    With a paper's protocol its figures stand beside ours; under our own none were published.
    """
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.experiments.reproduce import Comparison, Stopped, conditions
    from l2l_omniglot.reports.tables import reproduction_table, write_results

    need("matplotlib", "the plot", "plot")  # before hours of training
    chosen = conditions(settings, backbones, algorithms, recipe)
    if not chosen:
        raise click.UsageError(
            "nothing to compare: expected at least one setting, backbone and algorithm"
        )
    stacks: list[Stack] = []  # one for all conditions

    def build(settings: Settings) -> Experiment:
        if not stacks:
            stacks.append(options.open_stack(settings))
        return Experiment.build(settings, stacks[0], device)

    stops: list[int] = []  # the signals of trainings
    if PROTOCOLS[protocol].split and values["split"] is not None:
        raise click.UsageError(
            f"--protocol {protocol} with --split {values['split']}: the protocol sets it; "
            "expected one of both"
        )
    count = tasks or PROTOCOLS[protocol].tasks or TASKS
    comparison = Comparison(
        chosen, build, out, count, partial(_train, stops),
        partial(counting, "evaluating", "task"), write_results, protocol,
        **options.absolute(values),
    )  # fmt: skip
    try:
        errors = comparison.run(budget)
    except Stopped:
        echo_error("Stopped; the same command goes on.")
        raise SystemExit(128 + stops[-1]) from None
    if results := comparison.results():
        say(reproduction_table(results))
        log.info(f"Wrote {out / 'results.md'} and others.")
    if errors:
        raise type(errors[0])("; ".join(map(str, errors)))


def _train(stops: list[int], run: TrainingRun, minutes: float | None) -> Outcome:
    """Reports the progress on stderr; Ctrl-C ends the training in good order, and is noted."""
    settings = run.experiment.settings
    progress = TrainingProgress(settings.iterations, settings.meta_batch_size)
    run.observers.append(progress)
    with graceful_stop() as stop, progress.watching(run.trainer.iteration):
        outcome = run.train(minutes, stop)
    stops.append(stop.signal or 0)
    return outcome
