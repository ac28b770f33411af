"""The site's page of options: every option of every command, from the commands themselves.

``make docs`` puts it into the site; `python -m tools.options_page` prints it.
"""

from __future__ import annotations

import re

import click

from l2l_omniglot._util.text import markdown
from l2l_omniglot.cli import PROGRAM, cli
from l2l_omniglot.cli.config import Sectioned, commands
from l2l_omniglot.experiments.declaration import Declaration
from l2l_omniglot.experiments.settings import DECLARED

COMMON = ("config", "verbose", "quiet", "offline")
HEADER = ("option", "meaning", "default", "values")
_WORDS = {
    "integer": "a whole number",
    "float": "a number",
    "file": "a file",
    "directory": "a folder",
    "path": "a path",
}
INTRO = f"""# Options

Every option of every command, as `{PROGRAM} COMMAND --help` prints them. [Commands](commands.md)
says what the commands do. Defaults called *recipe* are in [the table of
recipes](commands.md#recipes).

An option can also stand in [a file](commands.md#configuration), by its name without the dashes, or
be set by [a variable](commands.md#environment), such as `L2L_OMNIGLOT_TRAIN_WAYS`.

## Every command

"""


def page() -> str:
    """Returns the text of the page."""
    parts = [INTRO + _table([option for option in cli.params if option.name in COMMON])]
    parts += [_command(name, command) for name, command in commands(cli).items()]
    return "\n".join(parts)


def _command(name: str, command: click.Command) -> str:
    """Writes a section about a command."""
    context = click.Context(command, info_name=f"{PROGRAM} {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    head = f"## {name}\n\n`{PROGRAM} {name} {usage}`\n\n"
    options = [option for option in command.params if option.name not in COMMON]
    if not isinstance(command, Sectioned):
        return head + _table(options)
    tables = []
    for group in dict.fromkeys(command.groups.values()):
        members = [option for option in options if command.groups[str(option.name)] == group]
        tables.append(f"### {group.capitalize()}\n\n{_table(members)}")
    return head + "\n".join(tables)


def _table(options: list[click.Parameter]) -> str:
    rows = [_row(option) for option in options if isinstance(option, click.Option)]
    return markdown(HEADER, rows) if rows else "It has none of its own.\n"


def _row(option: click.Option) -> list[str]:
    """Returns name, meaning, default and values; the help ends in the default in brackets."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    match = None
    if not option.show_default:
        match = re.fullmatch(r"(.*) \(([^()]+)\)\.", option.help or "")
    meaning, default = match.groups() if match else ((option.help or "").rstrip("."), _set(option))
    cells = [names, meaning, default, _values(option)]
    return [cell.replace("|", "\\|") for cell in cells]


def _set(option: click.Option) -> str:
    """Returns the default of an option whose help does not have it."""
    if option.required:
        return "required"
    if option.is_flag:
        return "no"
    default = option.default() if callable(option.default) else option.default
    return str(default)


def _values(option: click.Option) -> str:
    """Returns which values it may have."""
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    if option.name in DECLARED and not option.is_flag:
        return _bounds(DECLARED[option.name])
    if option.is_flag:
        return "yes, no"
    again = ", may be repeated" if option.multiple else ""
    if isinstance(kind, click.IntRange | click.FloatRange):
        return _range(kind) + again
    return _WORDS.get(kind.name if not option.metavar else "", option.metavar or "text") + again


def _range(kind: click.IntRange | click.FloatRange) -> str:
    if kind.min is not None and kind.max is not None:
        return f"{kind.min:,} to {kind.max:,}"
    return f"{'above' if kind.min_open else 'at least'} {kind.min}"


def _bounds(declared: Declaration) -> str:
    """Returns the values that a setting's declaration allows."""
    if declared.above is not None:
        return f"above {declared.above:g}"
    if declared.minimum is not None and declared.maximum is not None:
        return f"{declared.minimum:g} to {declared.maximum:,}"
    if declared.minimum is not None:
        return f"at least {declared.minimum:g}"
    return {"int": "a whole number", "float": "a number", "str": "text"}[declared.kind]


if __name__ == "__main__":
    print(page())
