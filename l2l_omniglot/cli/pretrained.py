"""``l2l-omniglot pretrained``."""

from __future__ import annotations

import click


@click.command(short_help="List the weights that come along.")
@click.option("--json", "as_json", is_flag=True, help="Print the cards as one JSON list.")
def pretrained(as_json: bool) -> None:
    """List the weights that come with the package, with what they reach on test tasks."""
    import dataclasses
    import json

    from l2l_omniglot.choices import BATCH_NORMS
    from l2l_omniglot.pretrained import list_pretrained
    from l2l_omniglot.report import percent, table

    cards = list_pretrained()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(card) for card in cards]))
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
    click.echo("\nUse one: l2l-omniglot evaluate --pretrained NAME")
