"""``l2l-omniglot train``."""

from __future__ import annotations

import shlex
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot._util.files import resolved
from l2l_omniglot._util.process import graceful_stop, restarted
from l2l_omniglot.backbones.registry import check_registered
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Sectioned, from_where
from l2l_omniglot.cli.console import TrainingProgress, bold, echo_error, log, say
from l2l_omniglot.errors import RunError, SettingsError, need
from l2l_omniglot.experiments.declaration import GROUPS
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.runs import new_run_path, newest_run, record_run, take_newest
from l2l_omniglot.experiments.settings import DECLARED, Settings, make_settings
from l2l_omniglot.experiments.weights import pretrained_names

if TYPE_CHECKING:
    from l2l_omniglot.experiments.training import Outcome, TrainingRun

NEWEST = "newest"
# What may change when a run is resumed; the rest decides what it computes.
RESUMABLE = ("iterations", "skip_bad_updates")
HARDLY = 1.2  # times chance

run_options = options.combined(
    click.option("--time-limit", type=options.MINUTES, default=None,
                 help="Minutes after which to stop (none)."),
    click.option("--run-dir", type=options.GivenPath(), default=None,
                 help="Folder of the run (a new one under runs/)."),
    click.option("--resume", type=str, is_flag=False, flag_value=NEWEST, default=None,
                 metavar="[RUN]", shell_complete=options.completing(options.known_runs),
                 help="Continue RUN, or the newest run (a new run)."),
    click.option("--tensorboard", is_flag=True,
                 help="Also write TensorBoard's event files into the run folder."),
)  # fmt: skip


def _groups() -> dict[str, str]:
    """Returns the groups of the options: those of the settings are declared with them."""
    groups = {declared.name: declared.group for declared in DECLARED.values()}
    groups |= dict.fromkeys(("time_limit", "run_dir", "resume", "tensorboard"), "run")
    groups |= dict.fromkeys(("device", "engine"), "computing")
    return dict(sorted(groups.items(), key=lambda pair: GROUPS.index(pair[1])))


@click.command(cls=Sectioned, groups=_groups(), short_help="Meta-train a network.")
@options.settings_options(*DECLARED)
@run_options
@options.computing_options
def train(
    time_limit: float | None,
    device: str,
    engine: str,
    run_dir: Path | None,
    resume: str | None,
    tensorboard: bool,
    **given: Any,
) -> None:
    """Meta-train a network, validate at intervals, and keep the best weights.

    In the options below the value in brackets is the default; "recipe" means that the recipe
    sets it. Ctrl-C saves a checkpoint; `train --resume` goes on from it.
    """
    if tensorboard:
        need("tensorboard", "--tensorboard", "tensorboard")
    folder, settings = _choose_run(resume, run_dir, options.absolute(given))
    check_registered(settings.backbone)  # before a download, say
    resumed = resume is not None
    if restarted():
        folder, resumed = _find_own(folder, settings), True
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.experiments.training import TrainingRun

    with options.worker(settings, device) as (workers, stack), ExitStack() as during:
        experiment = Experiment.build(settings, stack, device, engine, workers)
        watcher = TrainingProgress(settings.iterations, settings.meta_batch_size)
        run = TrainingRun(experiment, folder, watcher)
        experiment.tasks("test")  # refused now where it is too small, not after the training
        run.begin(resumed)
        if workers.first:
            record_run(folder.path)
        _announce(run, "Resuming" if resumed else "Training")
        if run.trainer.iteration == settings.iterations:
            made = settings.iterations
            log.info(f"All {made} iterations are done; a larger --iterations goes on.")
        stop = during.enter_context(graceful_stop())
        during.enter_context(watcher.watching(run.trainer.iteration))
        if workers.first and (tensorboard or _has_events(folder.path)):
            from l2l_omniglot.experiments.tensorboard import EventWriter

            events = EventWriter(folder.path, settings, run.rows)
            run.observers.append(during.enter_context(events))
        outcome = run.train(time_limit, stop)
        during.close()
        if outcome.reason == "stopped":
            echo_error(f"Stopped at iteration {outcome.iteration}; go on with:")
            echo_error(f"  l2l-omniglot train --resume {shlex.quote(str(folder.path))}")
            raise SystemExit(128 + (stop.signal or signal.SIGINT))
        if workers.first:
            _conclude(folder, settings, outcome)


def _choose_run(
    resume: str | None, run_dir: Path | None, given: dict[str, Any]
) -> tuple[RunFolder, Settings]:
    """Finds the run folder and the settings that are meant."""
    if resume is None:
        settings = make_settings(**given)
        return RunFolder(run_dir or new_run_path(settings)), settings
    if resume != NEWEST:
        if run_dir is not None and resolved(run_dir) != resolved(resume):
            raise click.UsageError(f"--resume {resume} and --run-dir {run_dir}: expected only one")
        run_dir = Path(resume)
    folder = RunFolder(run_dir) if run_dir else take_newest()
    saved = folder.read_settings()
    _check_changes(folder, saved, given)
    return folder, Settings(**{**saved.to_dict(), **given})


def _check_changes(folder: RunFolder, saved: Settings, given: dict[str, Any]) -> None:
    """Refuses what may not change when a run is resumed."""
    for name, value in given.items():
        if name not in RESUMABLE and value != getattr(saved, name):
            raise click.UsageError(
                f"--resume {folder.path} with {name.replace('_', '-')} {value}"
                f"{from_where(click.get_current_context(), name)}: the run has "
                f"{getattr(saved, name)}; only --iterations, --skip-bad-updates, --time-limit, "
                "--device, --engine and --tensorboard may change"
            )
    parts = max(saved.first_order_until, saved.multi_step_until)
    if parts and given.get("iterations", saved.iterations) != saved.iterations:
        raise click.UsageError(
            f"--resume {folder.path} with iterations {given['iterations']}: the run has "
            f"{saved.iterations}, and anneals its loss or order over a part of them; "
            "expected the same"
        )


def _find_own(folder: RunFolder, settings: Settings) -> RunFolder:
    """Finds the run that workers started again after a death go on with, if it had been made."""
    try:
        run = folder if folder.config.exists() else newest_run()
        return run if run.read_settings() == settings else folder
    except RunError:
        return folder


def _has_events(folder: Path) -> bool:
    """Returns whether the run has event files to go on with, and can."""
    from l2l_omniglot.experiments.tensorboard import has_events

    if not has_events(folder):
        return False
    try:
        need("tensorboard", "--tensorboard", "tensorboard")
    except SettingsError as error:
        log.info(f"Note: the event files in {folder} end here: {error}")
        return False
    return True


def _announce(run: TrainingRun, what: str) -> None:
    experiment, settings = run.experiment, run.experiment.settings
    choice, count = experiment.choose_engine(), experiment.workers.count
    workers = f" by {count} workers" if count > 1 else ""
    log.info(
        f"{what} {settings.backbone}, {settings.ways}-way {settings.shots}-shot, recipe "
        f"{settings.recipe}, iterations {run.trainer.iteration} to {settings.iterations}, on "
        f"{experiment.learner.device}{workers}, in {run.folder.path}"
    )
    log.info(f"Engine: {choice}.")


def _conclude(folder: RunFolder, settings: Settings, outcome: Outcome) -> None:
    ended = "Finished" if outcome.reason == "finished" else "Time is up"
    assert outcome.best is not None  # or the training has diverged
    path = f"./{folder.path}" if str(folder.path) in pretrained_names() else str(folder.path)
    say(
        f"{ended} at iteration {outcome.iteration} of {settings.iterations}; best validation "
        f"accuracy {bold(f'{outcome.best:.2%}')} ({settings.validation_batch_norm} batch norm).\n"
        "Evaluate it:\n"
        f"  l2l-omniglot evaluate --tasks 500 --weights {shlex.quote(path)}"
    )
    if outcome.best * settings.ways < HARDLY:
        log.info(
            f"Note: that is hardly better than chance ({1 / settings.ways:.0%}): the training has "
            "diverged (try a smaller --inner-lr or --meta-lr), or has only begun."
        )
