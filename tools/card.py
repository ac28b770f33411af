"""Adds results to the cards of pretrained weights: python -m tools.card [FILE ...].

Each FILE holds what `l2l-omniglot evaluate --json` printed. Its figures go to the card of those
weights, found by their digest; `--measure NAME` evaluates what the card of NAME lacks. Every
README.md is then written again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from l2l_omniglot._util.files import write_text
from l2l_omniglot.backbones import BATCH_NORMS, EVALUATED
from l2l_omniglot.experiments.card import CONFIG, README, Card, Result, read_card
from l2l_omniglot.experiments.protocols import LAKE, OURS, PROTOCOLS
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.experiments.weights import FOLDER, list_pretrained
from tools.model_card import model_card

TASKS = 1000
# What the figures of a card have in common.
COMMON = {"part": "test", "seed": 0, "data": "omniglot", "within_alphabet": False}


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="of evaluate --json")
    parser.add_argument("--measure", metavar="NAME", help="evaluate what the card of NAME lacks")
    parser.add_argument("--tasks", type=int, default=TASKS, help="of --measure (%(default)s)")
    parser.add_argument(
        "--protocol", choices=[name for name in PROTOCOLS if name != LAKE], default=OURS,
        help="of --measure (%(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args()
    for file in arguments.files:
        day = datetime.fromtimestamp(file.stat().st_mtime, tz=timezone.utc).date()
        add(file.read_text(encoding="utf-8"), str(file), day)
    if arguments.measure:
        measure(read_card(FOLDER / arguments.measure / CONFIG), arguments.tasks, arguments.protocol)
    for card in list_pretrained():
        write_readme(card)


def add(text: str, source: str, day: date, folder: Path = FOLDER) -> Card:
    """Adds the figures that `evaluate --json` printed to the card of those weights."""
    try:
        body = json.loads(text)
        digest = body["weights_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{source}: is not what `evaluate --json` prints: {error!r}") from error
    cards = {card.sha256: card for card in list_pretrained(folder)}
    if digest not in cards:
        names = ", ".join(card.name for card in cards.values())
        raise SystemExit(
            f"{source}: is of weights with SHA-256 {digest[:12]} ({body.get('weights')}); "
            f"expected those of {names}"
        )
    card = cards[digest]
    card = card.with_results(results(body, card.trained, source, day))
    card.save(folder)
    write_readme(card, folder)
    return card


def results(body: dict[str, Any], trained: Settings, source: str, day: date) -> list[Result]:
    """Returns the results of both modes of batch normalisation, or of the one evaluated."""
    protocol = body["protocol"]
    expected: dict[str, Any] = {"steps": trained.eval_steps}
    if protocol != LAKE:
        expected |= COMMON | {"rotated_tests": PROTOCOLS[protocol].rotated}
    if protocol == OURS:
        expected |= {"queries": trained.queries}
    for name, value in expected.items():
        if body[name] != value:
            raise SystemExit(f"{source}: {name} is {body[name]!r}; expected {value!r}")
    if protocol == LAKE:
        return [_one_shot_runs(body, mode, day) for mode in BATCH_NORMS if mode in body]
    same = "ways", "shots", "queries", "steps", "protocol", "split", "tasks"
    return [
        Result(
            **{name: body[name] for name in same}, batch_norm=mode, date=day.isoformat(),
            accuracy=body[mode]["accuracy"], ci95=body[mode]["ci95"],
        )
        for mode in BATCH_NORMS
        if mode in body
    ]  # fmt: skip


def _one_shot_runs(body: dict[str, Any], mode: str, day: date) -> Result:
    """Returns the result of the one-shot runs: 20-way, one drawing of each class to be told."""
    figures = body[mode]
    return Result(
        ways=20, shots=1, queries=1, steps=body["steps"], protocol=LAKE,
        split=PROTOCOLS[LAKE].split, batch_norm=mode, tasks=len(figures["error_per_run"]),
        accuracy=1 - figures["error"], ci95=figures["ci95"], date=day.isoformat(),
    )  # fmt: skip


def measure(card: Card, tasks: int, protocol: str = OURS, folder: Path = FOLDER) -> None:
    """Evaluates the settings that the card lacks under a protocol, and adds each when done."""
    modes = set(EVALUATED[PROTOCOLS[protocol].batch_norm or "both"])
    for setting in card.cells:
        known = [r for r in card.results if (r.setting, r.protocol) == (setting, protocol)]
        if modes <= {result.batch_norm for result in known}:
            continue
        ways, shots = setting.rstrip("s").split("w")
        words = ["evaluate", "--weights", card.name, "--ways", ways, "--shots", shots]
        words += ["--protocol", protocol, "--tasks", str(tasks), "--json"]
        command = [sys.executable, "-m", "l2l_omniglot", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"l2l-omniglot {' '.join(words)}: exit code {done.returncode}")
        card = add(done.stdout, setting, datetime.now(timezone.utc).date(), folder)
        print(f"{card.name}, {setting}, protocol {protocol}: added", flush=True)


def write_readme(card: Card, folder: Path = FOLDER) -> None:
    """Writes the model card of a set of weights."""
    write_text(folder / card.name / README, model_card(card))


if __name__ == "__main__":
    main()
