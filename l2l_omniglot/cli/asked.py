"""What `evaluate` is asked for, and whether it goes together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from l2l_omniglot.cli.sources import Strength, place, strength, stronger

TASKS, ONE_SHOT_RUNS = "tasks", "one-shot-runs"
# Options that say which tasks; the one-shot runs are what they are.
_NOT_OF_RUNS = ("count", "part", "shots", "queries", "within_alphabet", "seed", "baselines")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks for, beside the checkpoint and where to compute."""

    count: int
    protocol: str
    runs: Path | None
    part: str
    ways: int | None
    shots: int | None
    queries: int | None
    within_alphabet: bool
    steps: int | None
    batch_norm: str
    baselines: bool
    seed: int
    data: str | None
    as_json: bool


def check(asked: Options, ways: int, split: str, path: str) -> None:
    """Refuses options that do not go together, or with the checkpoint."""
    if asked.ways not in {None, ways}:
        where = place(click.get_current_context(), "ways")
        raise click.UsageError(
            f"--ways {asked.ways}{where and f' (from {where})'}: {path} was trained for {ways} ways"
        )
    overridden = asked.protocol == TASKS and stronger("protocol", "runs") == "protocol"
    if (asked.runs is None) == (asked.protocol == ONE_SHOT_RUNS) and not overridden:
        raise click.UsageError(
            f"--protocol {asked.protocol} with --runs {asked.runs}: --protocol {ONE_SHOT_RUNS} and "
            "--runs PATH go together, needed both or neither"
        )
    if asked.protocol != ONE_SHOT_RUNS:
        return
    if idle := _idle():
        raise click.UsageError(
            f"--protocol {ONE_SHOT_RUNS} with {idle[0]}: the runs are given; "
            "needed neither tasks nor their sizes"
        )
    if (ways, split) != (20, "alphabets"):
        raise click.UsageError(
            f"--protocol {ONE_SHOT_RUNS}: {path} was trained for {ways} ways on split {split}; "
            "needed 20 ways on split alphabets, whose training has none of the test's characters"
        )


def _idle() -> list[str]:
    """Options given that say which tasks, other than as defaults that the protocol overrides."""
    context = click.get_current_context()
    asked = max(strength(context, "protocol"), Strength.SECTION)
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in _NOT_OF_RUNS and strength(context, parameter.name) >= asked
    ]
