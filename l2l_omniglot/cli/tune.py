"""``l2l-omniglot tune``."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.process import graceful_stop
from l2l_omniglot._util.text import counted, hanging, percent
from l2l_omniglot.backbones.registry import check_registered
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Sectioned, config_text
from l2l_omniglot.cli.console import echo_error, log, say
from l2l_omniglot.errors import need, refused
from l2l_omniglot.experiments.declaration import GROUPS
from l2l_omniglot.experiments.search import DEFAULT_SEARCH, Dimension, parse_search
from l2l_omniglot.experiments.settings import DECLARED, Settings, make_settings

if TYPE_CHECKING:
    from l2l_omniglot.experiments.study import Study
    from l2l_omniglot.experiments.trials import Tried

SHOWN = 10  # trials in the table
WIDTH = 80  # of it

search_options = options.combined(
    click.option("--search", multiple=True, metavar="SETTING=VALUES",
                 help="What to try of a setting: inner_lr=0.01..1:log, inner_steps=1..5, "
                      f"head=shared,zero; once for each setting ({' '.join(DEFAULT_SEARCH)})."),
    click.option("--trials", type=click.IntRange(1, options.COUNT), default=50, show_default=True,
                 help="Trials in all, pruned ones included, by whichever process."),
    click.option("--study", default="study", show_default=True, metavar="NAME",
                 help="Name of the study that processes share."),
    click.option("--storage", default=None, metavar="URL|FILE",
                 help="Database, or journal file, of its trials (STUDY/journal.log in --folder)."),
    click.option("--folder", type=options.OutputPath(folder=True), default=Path("tune"),
                 show_default=True, help="Folder of studies, with the run of each trial."),
    click.option("--out", type=options.OutputPath(".toml"), default=Path("best.toml"),
                 show_default=True, help="File of the best settings, for train --config."),
)  # fmt: skip


def _groups() -> dict[str, str]:
    """Returns the groups of the options: those of the search come first."""
    names = ("search", "trials", "study", "storage", "folder", "out", "json")
    groups = dict.fromkeys(names, "search")
    settings = sorted(DECLARED.values(), key=lambda each: GROUPS.index(each.group))
    groups |= {declared.name: declared.group for declared in settings}
    return groups | dict.fromkeys(("device", "engine"), "computing")


@click.command(cls=Sectioned, groups=_groups(), short_help="Search for the best settings.")
@search_options
@options.json_option
@options.settings_options(*DECLARED)
@options.computing_options
def tune(
    search: tuple[str, ...],
    trials: int,
    study: str,
    storage: str | None,
    folder: Path,
    out: Path,
    json: bool,
    device: str,
    engine: str,
    **given: Any,
) -> None:
    """Search for the settings with the best validation accuracy, by Optuna.

    Each trial is a training in a run folder of its own; poor ones end early. The same command,
    started again here or on other machines, shares the trials of the study, and goes on with it
    after a stop. Test classes choose nothing.
    """
    need("optuna", "tune", "tune")
    fixed = options.absolute(given)
    tried = _search(search, fixed)
    settings = make_settings(**fixed)
    _check_written(fixed, out, storage)
    check_registered(settings.backbone)
    import optuna

    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.experiments.reproduce import Stopped
    from l2l_omniglot.experiments.study import Study

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it says, a line a trial, we say
    stack = options.open_stack(settings)

    def build(settings: Settings) -> Experiment:
        return Experiment.build(settings, stack, device, engine)

    place = folder / study
    where = str(place / "journal.log") if storage is None else storage
    made = Study(study, where, place, tried, fixed, build)
    with graceful_stop() as stop:
        try:
            made.run(trials, stop, lambda each, done: log.info(_line(each, done, trials)))
        except Stopped:
            echo_error("Stopped; the same command goes on.")
            raise SystemExit(128 + (stop.signal or signal.SIGINT)) from None
    best = made.best()
    write_text(out, _config(fixed, best, study))
    say(_json(made, out) if json else _table(made.results(), place, out))


def _search(texts: tuple[str, ...], fixed: dict[str, Any]) -> list[Dimension]:
    """Reads what to search; without being told, what is not given otherwise."""
    if not texts:
        usual = [
            dimension for dimension in parse_search(DEFAULT_SEARCH) if dimension.name not in fixed
        ]
        if not usual:
            raise click.UsageError("nothing to search: expected --search SETTING=VALUES")
        return usual
    dimensions = parse_search(texts)
    for dimension in dimensions:
        if dimension.name in fixed:
            option = DECLARED[dimension.name].option
            raise refused("search", dimension.text, f"with {option}; expected one of both")
    return dimensions


def _check_written(fixed: dict[str, Any], out: Path, storage: str | None) -> None:
    """Refuses now what could not be written after hours of training."""
    for name, value in fixed.items():
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise refused(name, value, "expected a name in UTF-8, as TOML has it") from error
    if storage is not None and options.is_same(out, Path(storage)):
        raise click.UsageError(f"--out and --storage '{out}': expected two different files")


def _words(tried: Tried) -> str:
    """Returns the settings of a trial in words."""
    shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in tried.settings.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _line(tried: Tried, done: int, trials: int) -> str:
    ended = "" if tried.ended == "finished" else f" ({tried.ended})"
    return (
        f"trial {tried.number}, {done} of {trials} done: {percent(tried.accuracy)}{ended}, "
        f"{tried.minutes:.1f} min, {_words(tried)}"
    )


def _table(results: list[Tried], place: Path, out: Path) -> str:
    """Lists the best trials, and how to go on."""
    whole = [trial for trial in results if trial.ended == "finished"]
    rows = [(f"trial {trial.number}  {percent(trial.accuracy)}", _words(trial)) for trial in whole]
    ended = {how: sum(trial.ended == how for trial in results) for how in ("pruned", "diverged")}
    run = shlex.quote(str(place / whole[0].run))
    return "\n".join([
        f"Best validation accuracy of {counted(len(results), 'trial')}, {ended['pruned']} pruned, "
        f"{ended['diverged']} diverged:",
        *hanging(rows[:SHOWN], WIDTH),
        f"Wrote {out}. Train longer with these settings, or evaluate the best run:",
        f"  l2l-omniglot train --config {shlex.quote(str(out))}",
        f"  l2l-omniglot evaluate --tasks 500 --weights {run}",
    ])  # fmt: skip


def _json(study: Study, out: Path) -> str:
    trials = [trial.to_dict() for trial in study.results()]
    body = {"folder": str(study.folder), "out": str(out), "best": study.best().to_dict()}
    return json.dumps({**body, "trials": trials}, allow_nan=False)


def _config(fixed: dict[str, Any], best: Tried, study: str) -> str:
    about = f"trial {best.number} of study {study}: validation accuracy {percent(best.accuracy)}"
    return config_text("train", fixed | best.settings, about)
