"""Which run `train` is for: a new one, or one to go on with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.cli.options import absolute
from l2l_omniglot.cli.sources import place, stronger
from l2l_omniglot.settings import Settings, make_settings

if TYPE_CHECKING:
    from l2l_omniglot.run import RunFolder

NEWEST = "newest"
# What may change when a run is resumed; the rest decides what it computes.
RESUMABLE = ("iterations",)


def find_own(folder: RunFolder, settings: Settings) -> RunFolder:
    """The run that workers started again after a death go on with, where it had been made."""
    from l2l_omniglot.errors import RunError
    from l2l_omniglot.run import newest_run

    try:
        found = folder if folder.config.exists() else newest_run()
        return found if found.read_settings() == settings else folder
    except RunError:
        return folder


def choose_run(
    resume: str | None, run_dir: Path | None, recipe: str | None, given: dict[str, Any]
) -> tuple[RunFolder, Settings]:
    """The run folder and the settings meant by the options."""
    from l2l_omniglot.run import RunFolder, new_run_path, newest_run

    if resume is None:
        settings = make_settings(recipe or "default", **absolute(given))
        return RunFolder(run_dir or new_run_path(settings)), settings
    if run_dir is None or resume != NEWEST:
        run_dir = newest_run().path if resume == NEWEST else _named_run(resume, run_dir)
    folder = RunFolder(run_dir)
    saved = folder.read_settings()
    changes = {name: value for name, value in absolute(given).items() if value is not None}
    if recipe is not None:
        changes["recipe"] = recipe
    for name, value in changes.items():
        if name not in RESUMABLE and value != getattr(saved, name):
            where = place(click.get_current_context(), name)
            raise click.UsageError(
                f"--resume {run_dir} with {name.replace('_', '-')} {value}"
                f"{where and f' (from {where})'}: the run has {getattr(saved, name)}; only "
                "--iterations, --time-limit, --device, --engine, --processes and --tensorboard "
                "may change"
            )
    parts = max(saved.first_order_until, saved.multi_step_until)
    if parts and changes.get("iterations", saved.iterations) != saved.iterations:
        raise click.UsageError(
            f"--resume {run_dir} with iterations {changes['iterations']}: the run has "
            f"{saved.iterations}, and an annealing over a part of them that would begin anew; "
            "needed the same"
        )
    return folder, Settings(**{**saved.to_dict(), **changes})


def _named_run(resume: str, run_dir: Path | None) -> Path:
    """The run that ``--resume`` names, where nothing as strong names another."""
    named = Path(resume)
    if run_dir is not None and run_dir.resolve() != named.resolve():
        which = stronger("resume", "run_dir")
        if which is None:
            raise click.UsageError(f"--resume {resume} and --run-dir {run_dir}: needed only one")
        return named if which == "resume" else run_dir
    return named
