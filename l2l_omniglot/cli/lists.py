"""``l2l-omniglot backbones``, ``check-backbone`` and ``pretrained``: what there is by name."""

from __future__ import annotations

import dataclasses
from json import dumps
from typing import TYPE_CHECKING

import click

from l2l_omniglot._util.text import NONE, table
from l2l_omniglot.backbones.registry import list_backbones
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command, naming_options
from l2l_omniglot.cli.console import say
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.experiments.protocols import PROTOCOLS, SETTINGS
from l2l_omniglot.experiments.weights import best_pretrained, list_pretrained

if TYPE_CHECKING:
    from l2l_omniglot.contract import BackboneReport, Finding
    from l2l_omniglot.experiments.card import Card


@click.command(cls=Command, short_help="List the networks that --backbone takes.")
def backbones() -> None:
    """List the networks that --backbone takes, and the packages they come from.

    None of them is imported; `l2l-omniglot check-backbone NAME` tries one.
    """
    rows = [(entry.name, entry.package, entry.target) for entry in list_backbones()]
    say(table(("name", "package", "target"), rows))


@click.command("check-backbone", cls=Command, short_help="Check a network of your own.")
@click.argument("name")
@options.json_option
def check_backbone(name: str, json: bool) -> None:
    """Check on random images whether the backbone NAME keeps the contract.

    Prints the result of each check; for one that fails, why, and what to do about it. Exit code
    5 if a required check fails; advice does not count.
    """
    from l2l_omniglot.contract import check_backbone as check

    with naming_options(click.get_current_context(), {"backbone": "name"}):
        report = check(name)
    body = {**dataclasses.asdict(report), "broken": report.broken}
    click.echo(dumps(body)) if json else say(_text(report))
    if report.broken:
        raise BackboneError(f"backbone {name!r} breaks its contract: {', '.join(report.broken)}")


def _text(report: BackboneReport) -> str:
    rows = [
        (
            finding.check,
            _result(finding),
            "see below" if finding.outcome == "failed" else finding.reason,
        )
        for finding in report.findings
        if finding.outcome != "unclear"
    ]
    lines = [f"{report.backbone} of {report.package}\n", table(("check", "result", ""), rows)]
    for finding in report.findings:
        if finding.outcome == "failed":
            lines.append(f"\n{_result(finding)}: {finding.check}\n  {finding.reason}.")
            lines.append(f"  Fix: {finding.fix}.")
    unclear = [finding.check for finding in report.findings if finding.outcome == "unclear"]
    if unclear:
        lines.append(f"\nUnclear, perhaps failing only because of these: {', '.join(unclear)}")
    return "\n".join(lines)


def _result(finding: Finding) -> str:
    failed = "FAILED" if finding.required else "advice"
    return failed if finding.outcome == "failed" else finding.outcome


@click.command(cls=Command, short_help="List the pretrained weights.")
@options.json_option
def pretrained(json: bool) -> None:
    """List the weights that come with the package, with their accuracy on test tasks."""
    cards = list_pretrained()
    if json:
        click.echo(dumps([dataclasses.asdict(card) for card in cards]))
        return
    places = sorted({result.place[:3] for card in cards for result in card.results})
    say("Accuracy on test tasks in %, with its 95 % interval")
    for place in places:
        number, split, mode = place
        say(f"\n{mode} batch norm, protocol {list(PROTOCOLS)[number]}, split {split}")
        say(_accuracies(cards, place))
    unmeasured = [card.name for card in cards if not card.results]
    if unmeasured:
        say(f"\nNot measured yet: {', '.join(unmeasured)}")
    say(f"\nBest on validation tasks, for any number of classes: {best_pretrained()}")
    say("Use one: l2l-omniglot evaluate --weights NAME")


def _accuracies(cards: list[Card], place: tuple[int, str, str]) -> str:
    """Formats a table of the cards that have results of this protocol, split and mode."""
    rows = []
    for card in cards:
        figures = {
            result.setting: f"{100 * result.accuracy:.2f} ± {100 * result.ci95:.2f}"
            for result in card.results
            if result.place[:3] == place
        }
        if figures:
            rows.append((card.name, *(figures.get(setting, NONE) for setting in SETTINGS)))
    return table(("name", *SETTINGS), rows)
