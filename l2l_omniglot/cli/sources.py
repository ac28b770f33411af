"""Where the value of an option comes from: command line, environment, a file, or its default."""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import NamedTuple

import click
from click.core import ParameterSource

PREFIX = "L2L_OMNIGLOT"
_GIVEN = f"{__name__}.given"


class Strength(enum.IntEnum):
    """Of two values, or of two options that exclude each other, the stronger one counts."""

    DEFAULT = 0
    FILE = 1  # a key at the top of it, for whichever command has such an option
    SECTION = 2
    ENVIRONMENT = 3
    COMMAND_LINE = 4


class Given(NamedTuple):
    """A value that a file gives: which file, and whether in the command's own section."""

    path: Path
    strength: Strength


def note_given(context: click.Context, command: str, given: dict[str, Given]) -> None:
    """Remembers which of a command's parameters a file gives."""
    context.meta.setdefault(_GIVEN, {}).setdefault(command, {}).update(given)


def _given(context: click.Context, name: str) -> Given:
    found: Given = context.meta[_GIVEN][command_name(context)][name]
    return found


def strength(context: click.Context, name: str) -> Strength:
    """How strong the value of a parameter is."""
    source = context.get_parameter_source(name)
    if source is ParameterSource.COMMANDLINE:
        return Strength.COMMAND_LINE
    if source is ParameterSource.ENVIRONMENT:
        return Strength.ENVIRONMENT
    if source is ParameterSource.DEFAULT_MAP:
        return _given(context, name).strength
    return Strength.DEFAULT


def stronger(one: str, other: str) -> str | None:
    """Which of two options of the command that exclude each other counts; None if it is a draw."""
    context = click.get_current_context()
    strengths = strength(context, one), strength(context, other)
    if strengths[0] == strengths[1]:
        return None
    return one if strengths[0] > strengths[1] else other


def place(context: click.Context, name: str) -> str:
    """Where the value of a parameter was given, in words; empty for command line and default."""
    found = strength(context, name)
    if found is Strength.ENVIRONMENT:
        return f"the variable {variable(context, name)}"
    if found in {Strength.FILE, Strength.SECTION}:
        return str(_given(context, name).path)
    return ""


def variable(context: click.Context, name: str) -> str:
    """The environment variable of a parameter."""
    option = next(option for option in context.command.params if option.name == name)
    return str(option.envvar)


def commands(program: click.Group) -> dict[str, click.Command]:
    """The commands that do something, by what is typed to call them, such as ``show data``."""
    found: dict[str, click.Command] = {}
    for name, command in program.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": leaf for inner, leaf in commands(command).items()}
        else:
            found[name] = command
    return found


def command_name(context: click.Context) -> str:
    """What was typed to call the context's command; empty for the program itself."""
    if context.parent is None:
        return ""
    return f"{command_name(context.parent)} {context.info_name}".lstrip()


def option_name(option: click.Parameter) -> str:
    """What an option is called in a file: its longest spelling, without dashes in front."""
    return max(option.opts, key=len).lstrip("-")


def variable_name(option: click.Parameter, command: str = "") -> str:
    """What an option's environment variable is called."""
    words = (PREFIX, command, option_name(option))
    return re.sub("[- ]", "_", "_".join(word for word in words if word)).upper()
