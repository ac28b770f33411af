"""``l2l-omniglot backbones``."""

from __future__ import annotations

import click


@click.command(short_help="List the networks that --backbone takes.")
def backbones() -> None:
    """List the networks that --backbone takes, and the packages they come from.

    Exit code 5 if one of them does not import; the others work all the same.
    """
    from l2l_omniglot.backbones import list_backbones
    from l2l_omniglot.errors import BackboneError
    from l2l_omniglot.report import table

    entries = list_backbones()
    rows = [(entry.name, entry.package, entry.target) for entry in entries if not entry.error]
    click.echo(table(("name", "package", "target"), rows))
    broken = [entry.error for entry in entries if entry.error]
    if broken:
        raise BackboneError("; ".join(broken))
