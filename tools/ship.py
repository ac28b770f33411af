"""Puts a run's best weights into the package, with a card: python -m tools.ship RUN [NAME].

The card's figures are measured here, on 1,000 test tasks in both modes of batch normalisation.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import torch

from l2l_omniglot._util.files import sha256
from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import OMNIGLOT, Experiment, open_data
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.weights import FOLDER, Card, as_typed, list_pretrained
from l2l_omniglot.meta.evaluation import evaluate

TASKS = 1000
KEPT = ("data_sha256", "split_sha256", "classes", "channels", "image_size")


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("name", nargs="?", help="e.g. basenet-5w1s (from the run's settings)")
    parser.add_argument("--replace", action="store_true", help="replace weights of that name")
    parser.add_argument("--last", action="store_true", help="ship its last weights, not its best")
    parser.add_argument(
        "--machine", required=True, help="description of the machine it was trained on"
    )
    parser.add_argument("--half", action="store_true", help="ship the weights in float16")
    arguments = parser.parse_args()
    keep_freed_memory()
    run = RunFolder(arguments.run)
    ship(
        run, arguments.name, arguments.machine, arguments.replace, last=arguments.last,
        half=arguments.half,
    )  # fmt: skip


def ship(
    run: RunFolder,
    name: str | None,
    machine: str,
    replace: bool = False,
    folder: Path = FOLDER,
    last: bool = False,
    half: bool = False,
) -> Card:
    """Writes the weights and their card, and prints their accuracy.

    Args:
        run: whose best weights.
        name: of the files; by backbone, ways and shots by default.
        machine: what it was trained on, in words.
        replace: whether weights of that name may be overwritten.
        folder: where to.
        last: its last weights instead of those of the best validation.
        half: in float16; they are computed with in float32.
    """
    checkpoint = load_checkpoint(run.last if last else run.best)
    if half:
        halves = {name: weight.half() for name, weight in checkpoint.weights.items()}
        checkpoint = dataclasses.replace(checkpoint, weights=halves)
    trained = checkpoint.settings
    # What says where files lay here stays here.
    settings = dataclasses.replace(trained, start_from=_short(trained.start_from))
    if settings.data != OMNIGLOT:
        raise SystemExit(f"{run.path}: was trained on {settings.data!r}; expected {OMNIGLOT!r}")
    own = "" if settings.head != "trained" else f"-{settings.ways}w{settings.shots}s"
    other = "" if settings.algorithm in {"maml", "protonet"} else f"-{settings.algorithm}"
    name = name or f"{settings.backbone}{own}{other}"
    path = folder / f"{name}.safetensors"
    if path.exists() and not replace:
        raise SystemExit(f"{path}: exists already; expected another name, or --replace")
    rows = {row.iteration: row.minutes for row in run.read_metrics()}
    if checkpoint.iteration not in rows:
        raise SystemExit(f"{run.metrics}: has no line of iteration {checkpoint.iteration}")
    experiment = Experiment.load(checkpoint, open_data(settings))
    differences = experiment.differences(checkpoint.facts)
    if differences:
        raise SystemExit(f"{run.path}: {differences[0]}")
    result = evaluate(
        experiment.learner, experiment.tasks("test", seed=0), TASKS, settings.eval_steps,
        batch_norm="both",
    )  # fmt: skip
    facts = {what: checkpoint.facts[what] for what in KEPT}
    shipped = dataclasses.replace(checkpoint, settings=settings, facts=facts, optimizer={})
    before = _history(trained.start_from)
    folder.mkdir(exist_ok=True)
    shipped.save(path)
    card = Card(
        name=name,
        settings=settings.to_dict(),
        iteration=checkpoint.iteration,
        minutes=rows[checkpoint.iteration] + before.minutes,
        accuracy={
            mode: {"accuracy": curve.accuracy, "ci95": curve.ci95}
            for mode, curve in result.curves.items()
        },
        tasks=TASKS,
        split=settings.split,
        date=datetime.now(timezone.utc).date().isoformat(),
        commands=[
            *before.commands,
            *_commands(run),
            f"l2l-omniglot evaluate --weights {name} --tasks {TASKS}",
        ],
        machine=f"{machine}, torch {torch.__version__}",
        sha256=sha256(path),
    )
    card.save(folder)
    print(f"{name}: {result}")
    return card


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
        return _History(cards[start].commands[:-1], cards[start].minutes)
    path = Path(start)
    run = RunFolder(path if path.is_dir() else path.parent)
    before = _history(run.read_settings().start_from)
    minutes = run.read_metrics()[-1].minutes + before.minutes
    return _History([*before.commands, *_commands(run)], minutes)


def _commands(run: RunFolder) -> list[str]:
    """Returns the commands that trained a run, without paths of this machine."""
    found = []
    for session in run.read_sessions():
        line = as_typed(session["command"])
        found.append(re.sub(r"( --(?:run-dir|resume)[= ])\S*/", r"\1", line))
    return found


if __name__ == "__main__":
    main()
