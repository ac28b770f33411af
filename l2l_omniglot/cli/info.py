"""``l2l-omniglot info``."""

from __future__ import annotations

from typing import Any

import click


@click.command(short_help="Print what a bug report needs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(as_json: bool) -> None:
    """Print what is installed and found here, for bug reports.

    Versions, machine, devices, data, variables, backbones, pretrained weights, the newest run.
    A part that is missing or broken says so, and the exit code stays 0.
    """
    import json

    from l2l_omniglot.info import gather

    parts = gather()
    click.echo(json.dumps(parts) if as_json else "\n".join(map(_part, parts, parts.values())))


def _part(name: str, entries: dict[str, Any]) -> str:
    """A part as lines, its values below one another."""
    width = max(map(len, entries), default=0)
    lines = [f"  {key.ljust(width)}  {_words(value)}" for key, value in entries.items()]
    return "\n".join([name, *(lines or ["  none"])])


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
