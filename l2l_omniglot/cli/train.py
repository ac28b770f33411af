"""``l2l-omniglot train``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.backbones import check_registered
from l2l_omniglot.choices import ADAPTED, INNER_RATES, SCHEDULES
from l2l_omniglot.cli import names
from l2l_omniglot.cli.names import one_of
from l2l_omniglot.cli.options import MINUTES, F, computing_options, options
from l2l_omniglot.cli.resume import NEWEST, choose_run, find_own
from l2l_omniglot.cli.workers import start_workers, worker
from l2l_omniglot.colour import BOLD, paint
from l2l_omniglot.interrupt import graceful_stop
from l2l_omniglot.messages import say, tell
from l2l_omniglot.progress import TrainingProgress
from l2l_omniglot.settings import ALGORITHMS, RECIPES, Settings

if TYPE_CHECKING:
    from l2l_omniglot.run import RunFolder
    from l2l_omniglot.training import Outcome, TrainingRun


def _number(name: str, kind: type | click.IntRange, text: str) -> Callable[[F], F]:
    return click.option(name, type=kind, default=None, help=text)


task_options = options(
    _number("--ways", int, "Classes a task (5)."),
    _number("--shots", int, "Support images a class (1)."),
    _number("--queries", int, "Query images a class; where given, in training too (15)."),
    _number("--train-queries", int, "Query images a class in training only (recipe)."),
)
learning_options = options(
    click.option("--recipe", type=click.Choice(list(RECIPES)), default=None,
                 help="Settings to start from (default)."),
    _number("--meta-batch-size", int, "Tasks an iteration (recipe)."),
    _number("--inner-steps", int, "Gradient steps on the support set, in training (recipe)."),
    _number("--eval-steps", int, "Gradient steps in validation and evaluation (recipe)."),
    _number("--inner-lr", float, "Step size of the inner loop, a factor (recipe)."),
    click.option("--first-order/--second-order", default=None,
                 help="Treat inner gradients as constants, or differentiate them (recipe)."),
    click.option("--algorithm", type=click.Choice(list(ALGORITHMS)), default=None,
                 help="Sets the four options below and others: see docs/algorithms.md (maml)."),
    click.option("--adapt", type=click.Choice(ADAPTED), default=None,
                 help="What the inner loop changes; head is ANIL (all)."),
    click.option("--inner-rates", type=click.Choice(INNER_RATES), default=None,
                 help="fixed, or learned: one a weight (Meta-SGD), or a layer and step (fixed)."),
    _number("--first-order-until", float, "Part of the iterations, 0 to 1, in first order (0)."),
    _number("--multi-step-until", float,
            "Part of the iterations, 0 to 1, that count the loss after every step too (0)."),
    _number("--meta-lr", float, "Adam's learning rate, a factor (recipe)."),
    click.option("--schedule", type=click.Choice(SCHEDULES), default=None,
                 help="Of the meta learning rate over the iterations (recipe)."),
    _number("--iterations", int, "Meta-updates in all (recipe)."),
    click.option("--rotations/--no-rotations", default=None,
                 help="Rotated characters as new training classes (recipe)."),
    click.option("--mirrors/--no-mirrors", default=None,
                 help="Mirrored characters as new training classes (no)."),
    click.option("--ink", type=click.Choice(["white", "black"]), default=None,
                 help="What ink is to the network: white is 1, black is 0 (recipe)."),
    click.option("--init", type=click.Choice(["zero", "tutorial"]), default=None,
                 help="What BaseNet's last layer starts as (recipe)."),
    click.option("--backbone", default=None, shell_complete=one_of(names.backbones),
                 help="Network, see `l2l-omniglot backbones` (recipe)."),
    click.option("--start-from", default=None, shell_complete=one_of(names.weights, files=True),
                 help="Run, checkpoint or pretrained weights to start from (random weights)."),
)  # fmt: skip
data_options = options(
    click.option("--data", default=None, shell_complete=one_of(names.data, files=True),
                 help="omniglot, synthetic, or the path of a .npy class stack (omniglot)."),
    click.option("--background", type=click.Choice(["auto", "white", "black"]), default=None,
                 help="Paper colour of the images as stored (auto)."),
    click.option("--split", default=None, shell_complete=one_of(names.splits, files=True),
                 help="tutorial, random, alphabets, or a JSON file of class names (tutorial)."),
    _number("--validation-classes", click.IntRange(min=1),
            "Classes to validate on, of splits tutorial and random (100 of Omniglot's)."),
    _number("--split-seed", int, "Of --split random and --data synthetic (0)."),
    _number("--seed", int, "Of initial weights and tasks (0)."),
)  # fmt: skip
run_options = options(
    _number("--validation-every", int, "Iterations from one validation to the next (1000)."),
    _number("--validation-tasks", int, "Tasks a validation, always the same ones (100)."),
    click.option("--time-limit", type=MINUTES, default=None,
                 help="Stop after this many minutes (none)."),
    click.option("--run-dir", type=click.Path(path_type=Path), default=None,
                 help="Folder of the run (a new one under ./runs)."),
    click.option("--resume", type=str, is_flag=False, flag_value=NEWEST, default=None,
                 metavar="[RUN]", shell_complete=one_of(names.runs, files=True),
                 help="Go on with a run, the newest if none is named (a new run)."),
    click.option("--tensorboard", is_flag=True,
                 help="Write TensorBoard's event files into the run folder, too."),
)  # fmt: skip


@click.command(short_help="Meta-train a network.")
@task_options
@learning_options
@data_options
@run_options
@computing_options
def train(
    time_limit: float | None,
    device: str,
    engine: str,
    processes: int,
    run_dir: Path | None,
    resume: str | None,
    recipe: str | None,
    tensorboard: bool,
    **given: Any,
) -> None:
    """Meta-train a network; validates at intervals and keeps the best.

    In the options below the value in brackets is the default; "recipe" means that the recipe
    decides. Ctrl-C saves a checkpoint; `train --resume` goes on from it.
    """
    if tensorboard:
        from l2l_omniglot.tensorboard import check_tensorboard

        check_tensorboard()
    folder, settings = choose_run(resume, run_dir, recipe, given)
    check_registered(settings.backbone)  # before a download, say
    if start_workers(processes):
        return
    from l2l_omniglot.workers import restarted

    resumed = resume is not None
    if restarted():
        folder, resumed = find_own(folder, settings), True
    outcome = _train(folder, settings, resumed, time_limit, device, engine, tensorboard)
    if outcome is not None:
        _conclude(folder, settings, outcome)


def _train(
    folder: RunFolder,
    settings: Settings,
    resumed: bool,
    time_limit: float | None,
    device: str,
    engine: str,
    tensorboard: bool,
) -> Outcome | None:
    """Trains; of several workers, only the first gets the outcome, and speaks."""
    from l2l_omniglot.experiment import Experiment
    from l2l_omniglot.training import TrainingRun

    with worker(settings, device) as (workers, stack):
        experiment = Experiment.build(settings, stack, device, engine, workers)
        watcher = TrainingProgress(settings.iterations, settings.meta_batch_size)
        run = TrainingRun(experiment, folder, watcher)
        experiment.tasks("test")  # refused now where it is too small, not after the training
        run.begin(resumed)
        _announce(run, "Resuming" if resumed else "Training")
        if run.trainer.iteration == settings.iterations:
            say(f"All {settings.iterations} iterations are made; a larger --iterations goes on.")
        with (
            graceful_stop() as stop,
            watcher.watching(run.trainer.iteration),
            _events(run, tensorboard),
        ):
            outcome = run.train(time_limit, stop)
        if outcome.reason == "stopped":
            tell(f"Stopped at iteration {outcome.iteration}; go on with:")
            tell(f"  l2l-omniglot train --resume {shlex.quote(str(folder.path))}")
            raise SystemExit(128 + (stop.signal or signal.SIGINT))
        return outcome if workers.first else None


@contextmanager
def _events(run: TrainingRun, wanted: bool) -> Iterator[None]:
    """Inside the block the run writes event files, where asked to or where it did before."""
    if not run.experiment.workers.first or not (wanted or _wrote_events(run.folder.path)):
        yield
        return
    from l2l_omniglot.tensorboard import EventWriter
    from l2l_omniglot.training import Observers

    with EventWriter(run.folder.path, run.experiment.settings, run.rows) as events:
        run.observer = Observers(run.observer, events)
        yield


def _wrote_events(folder: Path) -> bool:
    """Whether the run has event files to go on with, and can."""
    from l2l_omniglot.errors import SettingsError
    from l2l_omniglot.tensorboard import check_tensorboard, has_events

    if not has_events(folder):
        return False
    try:
        check_tensorboard()
    except SettingsError as error:
        say(f"Note: {folder} has event files, which end here: {error}")
        return False
    return True


def _announce(run: TrainingRun, what: str) -> None:
    experiment, settings = run.experiment, run.experiment.settings
    choice, count = experiment.choose_engine(), experiment.workers.count
    workers = f" by {count} workers" if count > 1 else ""
    say(
        f"{what} {settings.backbone}, {settings.ways}-way {settings.shots}-shot, recipe "
        f"{settings.recipe}, iterations {run.trainer.iteration} to {settings.iterations}, on "
        f"{experiment.learner.device}{workers}, in {run.folder.path}"
    )
    say(f"Engine: {choice.engine.name}{choice.reason and f' ({choice.reason})'}.")


def _conclude(folder: RunFolder, settings: Settings, outcome: Outcome) -> None:
    ended = "Finished" if outcome.reason == "finished" else "Time is up"
    best = f"{outcome.best:.2%}" if outcome.best is not None else "none"
    click.echo(
        f"{ended} at iteration {outcome.iteration} of {settings.iterations}; best validation "
        f"accuracy {paint(best, BOLD, sys.stdout)} (transductive batch norm).\n"
        f"Evaluate it:\n  l2l-omniglot evaluate --tasks 500 --run {shlex.quote(str(folder.path))}"
    )
