"""How weights came about: the metrics and commands of their run, or their card."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2l_omniglot.checkpoint import Checkpoint
from l2l_omniglot.pretrained import list_pretrained, sha256
from l2l_omniglot.run import MetricsRow, RunFolder
from l2l_omniglot.settings import DECLARED, RECIPES, Settings, make_settings

PROGRAM = "l2l-omniglot"


@dataclass(frozen=True)
class History:
    """What is known of a checkpoint beside its weights.

    Attributes:
        name: what to call it: the run folder's, or that of pretrained weights.
        kind: ``run``, ``checkpoint`` (a file that is not in its run folder) or ``pretrained``.
        path: of the file of weights.
        sha256: its digest.
        rows: of the run's ``metrics.csv``.
        sessions: of the run's ``config.json``: ``command``, ``started``, ``versions``.
        machine: what it was made on, where known.
        commands: that it was trained with, one after the other; those of a card, and of a run
            that was resumed.
    """

    name: str
    kind: str
    path: Path
    sha256: str
    rows: list[MetricsRow]
    sessions: list[dict[str, Any]]
    machine: str
    commands: tuple[str, ...] = ()


def history(source: str, checkpoint: Checkpoint) -> History:
    """How a checkpoint came about, as `l2l_omniglot.transfer.find_weights` found it by `source`."""
    path = Path(checkpoint.source)
    digest = sha256(path)
    folder = RunFolder(path.parent)
    if not Path(source).exists():
        card = next(card for card in list_pretrained() if card.name == source)
        return History(
            source, "pretrained", path, digest, [], [], card.machine, tuple(card.commands[:-1])
        )
    own = path.name in {folder.best.name, folder.last.name} and folder.config.exists()
    if not own or not _same_run(folder.read_settings(), checkpoint.settings):
        return History(path.name, "checkpoint", path, digest, [], [], "")
    name = path.parent.resolve().name
    if path.samefile(source):
        name = f"{name}/{path.name}"
    sessions = folder.read_sessions()
    machine = sessions[-1]["versions"].get("machine", "") if sessions else ""
    typed = tuple(as_typed(session["command"]) for session in sessions)
    rows, commands = folder.read_metrics(), typed if len(typed) > 1 else ()
    return History(name, "run", path, digest, rows, sessions, machine, commands)


def _same_run(one: Settings, other: Settings) -> bool:
    """Whether they are those of one run, which may have been given more iterations since."""
    return dataclasses.replace(one, iterations=other.iterations) == other


def train_command(settings: Settings) -> str:
    """A command line that trains with these settings."""
    recipe = settings.recipe if settings.recipe in RECIPES else "default"
    given: dict[str, Any] = {"ways": settings.ways, "shots": settings.shots}
    for name in ("algorithm", "queries"):  # these set others too
        if getattr(make_settings(recipe, **given), name) != getattr(settings, name):
            given[name] = getattr(settings, name)
    base = make_settings(recipe, **given)
    for name in DECLARED:
        value = getattr(settings, name)
        if name != "recipe" and value != getattr(base, name):
            given[name] = value
    words = [PROGRAM, "train", *([] if recipe == "default" else ["--recipe", recipe])]
    for name, value in given.items():
        words += DECLARED[name].words(value)
    return shlex.join(words)


def as_typed(command: str) -> str:
    """A session's command without the path of the program."""
    words = shlex.split(command)
    return shlex.join([PROGRAM, *words[1:]])
