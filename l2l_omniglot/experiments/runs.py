"""Where runs are: in the default place, or elsewhere by ``--run-dir``; a record names these."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import time
from datetime import datetime
from pathlib import Path

from l2l_omniglot._util.files import is_special, resolved
from l2l_omniglot._util.reading import MOST_JSON, UnreadableError, parse_json, read_bytes
from l2l_omniglot._util.text import counted
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import Settings

log = logging.getLogger(__name__)

RUNS_VARIABLE = "L2L_OMNIGLOT_RUNS"
RECORD = "elsewhere.jsonl"  # in the default place: absolute paths of the runs elsewhere, one a line
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def runs_folder() -> Path:
    """Returns the default place of runs: ``L2L_OMNIGLOT_RUNS``, or ``runs`` in this folder."""
    return Path(os.environ.get(RUNS_VARIABLE) or "runs")


def new_run_path(settings: Settings) -> Path:
    """Returns an unused folder name for a new run, from date, time, backbone, ways and shots."""
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{moment}-{settings.backbone}-{settings.ways}w{settings.shots}s"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for path in map(runs_folder().joinpath, names) if not path.exists())


def record_run(path: Path) -> None:
    """Notes a run that is not in the default place, so that `newest_run` finds it.

    Where nothing can be written there, it is not noted: a training does not fail by that.
    """
    folder, home = resolved(path), runs_folder()
    if folder.parent == resolved(home) or folder in _recorded():
        return
    if is_special(home / RECORD):  # a pipe would wait for its other end
        return
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        with (home / RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(str(folder)) + "\n")


def _recorded() -> list[Path]:
    """Reads the record; leaves out lines that are broken."""
    try:
        text = read_bytes(runs_folder() / RECORD, MOST_JSON).decode("utf-8", errors="replace")
    except (OSError, UnreadableError):  # there is none
        return []
    paths = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            paths.append(Path(parse_json(line)))
    return paths


def known_runs() -> list[RunFolder]:
    """Lists the runs of the default place and of the record, the newest first.

    Those that were moved or deleted are left out.
    """
    paths = [path for path in runs_folder().glob("*") if path.is_dir()]
    here = {resolved(path) for path in paths}
    paths += [_short(path) for path in dict.fromkeys(_recorded()) if path not in here]
    saved = {run: at for run in map(RunFolder, paths) if (at := _saved(run)) is not None}
    return sorted(saved, key=saved.__getitem__, reverse=True)


def newest_run(trained: bool = False) -> RunFolder:
    """Finds the run that was saved last.

    Args:
        trained: only one that has a checkpoint already.

    Raises:
        RunError: if there is none.
    """
    for run in known_runs():
        if run.last.is_file() or not trained:
            return run
    raise RunError(
        f"{runs_folder()}: no run found; train one with `l2l-omniglot train`, or name one"
    )


def take_newest(trained: bool = False) -> RunFolder:
    """Finds a run as `newest_run` does, and says which it is."""
    run = newest_run(trained)
    log.info(taken(run))
    return run


def taken(run: RunFolder, now: float | None = None) -> str:
    """Says which run is the newest, and how old it is: now, or at a time in seconds."""
    age = (time.time() if now is None else now) - (_saved(run) or 0)
    return f"Taking the newest run: {run.path}, saved {_age(age)}."


def _saved(run: RunFolder) -> float | None:
    """Returns when a run was saved last, or begun; None if there is none."""
    for path in (run.last, run.config):
        with contextlib.suppress(OSError, ValueError):  # the latter of a path that cannot be
            return path.stat().st_mtime
    return None


def _age(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "less than a minute ago"


def _short(path: Path) -> Path:
    """Returns a path as it would be typed here: relative, where it lies below this folder."""
    here = Path.cwd().resolve()
    return path.relative_to(here) if path.is_relative_to(here) else path
