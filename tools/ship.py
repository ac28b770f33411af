"""Puts a run's best weights into the package, as a folder: python -m tools.ship RUN NAME.

The folder is a repository of Hugging Face: weights, `config.json` (their card) and `README.md`.
What the weights reach is added by `python -m tools.card`, which `--tasks` runs at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from l2l_omniglot._util.files import sha256
from l2l_omniglot.experiments.card import MODEL, Card
from l2l_omniglot.experiments.checkpoint import Checkpoint, load_checkpoint
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.experiments.weights import FOLDER, as_typed, list_pretrained
from tools.card import measure, write_readme

KEPT = ("data_sha256", "split_sha256", "classes", "channels", "image_size")


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("name", help="e.g. resnet8, or resnet8-random for another split")
    parser.add_argument("--machine", required=True, help="what it was trained on, in words")
    parser.add_argument("--half", action="store_true", help="ship the weights in float16")
    parser.add_argument("--last", action="store_true", help="ship its last weights, not its best")
    parser.add_argument("--eval-steps", type=int, help="inner steps that validation chose")
    parser.add_argument("--eval-inner-lr", type=float, help="and their learning rate")
    parser.add_argument("--replace", action="store_true", help="replace weights of that name")
    parser.add_argument(
        "--tasks", type=int, default=0, help="evaluate on so many test tasks at once (none)"
    )
    options = vars(parser.parse_args())
    tasks, run = options.pop("tasks"), RunFolder(options.pop("run"))
    card = ship(run, **options)
    print(f"{FOLDER / card.name}: written")
    if tasks:
        measure(card, tasks)


def ship(
    run: RunFolder,
    name: str,
    machine: str,
    half: bool = False,
    last: bool = False,
    eval_steps: int | None = None,
    eval_inner_lr: float | None = None,
    replace: bool = False,
    folder: Path = FOLDER,
) -> Card:
    """Writes the folder of a set of weights, without results.

    Args:
        run: whose best weights.
        name: of the folder.
        machine: what it was trained on, in words.
        half: in float16; they are computed with in float32.
        last: its last weights instead of those of the best validation.
        eval_steps: inner steps at evaluation, instead of those of the run.
        eval_inner_lr: their learning rate, instead of that of the run.
        replace: whether weights of that name may be overwritten.
        folder: where to.
    """
    path = folder / name / MODEL
    if path.exists() and not replace:
        raise SystemExit(f"{path}: exists already; expected another name, or --replace")
    checkpoint = load_checkpoint(run.last if last else run.best)
    if checkpoint.settings.data != Settings.data:
        data = checkpoint.settings.data
        raise SystemExit(f"{run.path}: was trained on {data!r}; expected {Settings.data!r}")
    row, before = _row(run, checkpoint.iteration), _history(checkpoint.settings.start_from)
    shipped = _shipped(checkpoint, half, eval_steps=eval_steps, eval_inner_lr=eval_inner_lr)
    path.parent.mkdir(parents=True, exist_ok=True)
    shipped.save(path)
    card = Card(
        name=name,
        settings=shipped.settings.to_dict(),
        iteration=checkpoint.iteration,
        minutes=row.minutes + before.minutes,
        validation=row.validation_accuracy,
        results=[],
        commands=[*before.commands, *_commands(run)],
        machine=f"{machine}, torch {torch.__version__}",
        sha256=sha256(path),
    )
    card.save(folder)
    write_readme(card, folder)
    return card


def _row(run: RunFolder, iteration: int) -> MetricsRow:
    """Returns the line of the metrics that was written with a checkpoint."""
    rows = [row for row in run.read_metrics() if row.validated and row.iteration == iteration]
    if not rows:
        raise SystemExit(f"{run.metrics}: has no line of iteration {iteration}")
    return rows[-1]


def _shipped(checkpoint: Checkpoint, half: bool, **chosen: Any) -> Checkpoint:
    """Returns what is shipped of a checkpoint: nothing that says where files lay here."""
    settings = checkpoint.settings
    changes = {name: value for name, value in chosen.items() if value is not None}
    settings = dataclasses.replace(settings, start_from=_short(settings.start_from), **changes)
    facts = {name: checkpoint.facts[name] for name in KEPT}
    weights = checkpoint.weights
    if half:
        weights = {name: weight.half() for name, weight in weights.items()}
    return dataclasses.replace(
        checkpoint, settings=settings, facts=facts, weights=weights, optimizer={}
    )


def _short(start: str) -> str:
    """Returns the name of the run or weights a training started from."""
    path = Path(start)
    return path.parent.name if path.suffix == ".safetensors" else path.name


class _History(NamedTuple):
    """Commands and minutes that trained the weights a training started from."""

    commands: list[str]
    minutes: float


def _history(start: str) -> _History:
    """Returns the history of a run's or pretrained weights; others have none."""
    if not start:
        return _History([], 0.0)
    cards = {card.name: card for card in list_pretrained()}
    if start in cards:
        return _History(cards[start].commands, cards[start].minutes)
    path = Path(start)
    run = RunFolder(path if path.is_dir() else path.parent)
    before = _history(run.read_settings().start_from)
    minutes = run.read_metrics()[-1].minutes + before.minutes
    return _History([*before.commands, *_commands(run)], minutes)


def _commands(run: RunFolder) -> list[str]:
    """Returns the commands that trained a run, without paths of this machine."""
    commands = []
    for session in run.read_sessions():
        line = as_typed(session["command"])
        commands.append(re.sub(r"( --(?:run-dir|resume)[= ])\S*/", r"\1", line))
    return commands


if __name__ == "__main__":
    main()
