"""``l2l-omniglot backbones``, ``check-backbone`` and ``pretrained``: what there is by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.backbones import BATCH_NORMS
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.options import json_option

if TYPE_CHECKING:
    from l2l_omniglot.contract import BackboneReport, Finding

_RESULTS = {
    ("passed", True): "passed", ("passed", False): "passed",
    ("failed", True): "FAILED", ("failed", False): "advice",
    ("not tried", True): "not tried", ("not tried", False): "not tried",
}  # fmt: skip


@click.command(cls=Command, short_help="List the networks that --backbone takes.")
def backbones() -> None:
    """List the networks that --backbone takes, and the packages they come from.

    Exit code 5 if one of them does not import; the others work all the same.
    """
    from l2l_omniglot.backbones.registry import list_backbones
    from l2l_omniglot.errors import BackboneError

    entries = list_backbones()
    rows = [(entry.name, entry.package, entry.target) for entry in entries if not entry.error]
    click.echo(table(("name", "package", "target"), rows))
    broken = [entry.error for entry in entries if entry.error]
    if broken:
        raise BackboneError("; ".join(broken))


@click.command("check-backbone", cls=Command, short_help="Try out a network of your own.")
@click.argument("name")
@json_option
def check_backbone(name: str, json: bool) -> None:
    """Try out whether the backbone NAME keeps the contract, on random images.

    Prints what passes and what does not, why, and what to do about it. Exit code 5 if a check
    fails that is required; advice does not count.
    """
    from l2l_omniglot.contract import check_backbone as check
    from l2l_omniglot.errors import BackboneError

    report = check(name)
    click.echo(_json(report) if json else _text(report))
    if report.broken:
        raise BackboneError(f"backbone {name!r} breaks its contract: {', '.join(report.broken)}")


def _json(report: BackboneReport) -> str:
    import dataclasses
    import json

    return json.dumps({**dataclasses.asdict(report), "broken": report.broken})


def _text(report: BackboneReport) -> str:
    rows = [
        (found.check, _result(found), "see below" if found.outcome == "failed" else found.reason)
        for found in report.findings
    ]
    lines = [f"{report.backbone} of {report.package}\n", table(("check", "result", ""), rows)]
    for found in report.findings:
        if found.outcome == "failed":
            lines.append(f"\n{_result(found)}: {found.check}\n  {found.reason}.")
            lines.append(f"  Fix: {found.fix}.")
    return "\n".join(lines)


def _result(found: Finding) -> str:
    return _RESULTS[found.outcome, found.required]


@click.command(cls=Command, short_help="List the weights that come along.")
@json_option
def pretrained(json: bool) -> None:
    """List the weights that come with the package, with what they reach on test tasks."""
    from l2l_omniglot.experiments.weights import list_pretrained

    cards = list_pretrained()
    if json:
        import dataclasses
        from json import dumps

        click.echo(dumps([dataclasses.asdict(card) for card in cards]))
        return
    if not cards:
        click.echo("No weights come with this version.")
        return
    rows = []
    for card in cards:
        reached = [card.accuracy[mode] for mode in BATCH_NORMS]
        figures = [percent(entry["accuracy"], entry["ci95"]) for entry in reached]
        rows.append((card.name, *figures, str(card.tasks), str(card.iteration), card.date))
    click.echo(table(("name", *BATCH_NORMS, "test tasks", "iterations", "date"), rows))
    click.echo("\nUse one: l2l-omniglot evaluate --weights NAME")
