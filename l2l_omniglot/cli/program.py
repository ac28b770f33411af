"""The program: what all its commands have in common."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.cli.config import use_config
from l2l_omniglot.cli.sources import PREFIX, Strength, commands, place, strength, variable_name
from l2l_omniglot.colour import forced
from l2l_omniglot.errors import did_you_mean, needed_name
from l2l_omniglot.files import CACHE_VARIABLE
from l2l_omniglot.launch import launched
from l2l_omniglot.messages import Verbosity, detail, say, set_verbosity, timed
from l2l_omniglot.omniglot import MIRROR_VARIABLE, SOURCE_VARIABLE
from l2l_omniglot.run import RUNS_VARIABLE

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:  # which is not generic in every version that will do
    _Choice = click.Choice
_VERBOSITY = f"{__name__}.verbosity"
_OTHER_VARIABLES = (CACHE_VARIABLE, SOURCE_VARIABLE, MIRROR_VARIABLE, RUNS_VARIABLE)


class Name(_Choice):
    """One of some names; a mistyped one is told which it is likeliest to be."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Takes the name as it is, or refuses it."""
        if value not in self.choices:
            self.fail(f"{value!r}: {needed_name(str(value), self.choices)}", param, ctx)
        return str(value)


class Program(click.Group):
    """A group whose commands all have ``--config``, ``--verbose`` and ``--quiet``.

    Every option gets an environment variable, and every choice between names says which one
    was likely meant.
    """

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self.params += _common_options()
        for option in self.params:
            option.envvar = variable_name(option)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Adds a command, and what all of them have to it."""
        super().add_command(cmd, name)
        name = name or str(cmd.name)
        _equip(cmd, name)
        for inner, command in commands(cmd).items() if isinstance(cmd, click.Group) else ():
            _equip(command, f"{name} {inner}")

    def make_context(self, *arguments: Any, **values: Any) -> click.Context:
        """Starts a run of the program, said as much of as usual until an option says otherwise."""
        set_verbosity(Verbosity.NORMAL)
        context = super().make_context(*arguments, **values)
        context.color = True if forced() else None
        return context

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuses an unknown command with the known ones."""
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            ctx.fail(f"command {args[0]!r}: {needed_name(args[0], sorted(self.commands))}")
        return super().resolve_command(ctx, args)


def _equip(command: click.Command, name: str) -> None:
    """Gives a command what all have."""
    command.params += _common_options()
    for option in command.params:
        if isinstance(option, click.Option):
            option.envvar = variable_name(option, name)
        if type(option.type) is click.Choice:
            option.type = Name(list(option.type.choices))
    if command.callback is not None and not isinstance(command, click.Group):
        command.callback = _introduced(command.callback)


def _common_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--config"], type=click.Path(path_type=Path, dir_okay=False), is_eager=True,
            expose_value=False, callback=use_config,
            help="TOML file of settings, see docs/commands.md (none).",
        ),
        click.Option(
            ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set_verbosity,
            help="Say more of what is done, and where an unexpected failure comes from.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_verbosity,
            help="No progress and no notes: only results and errors.",
        ),
    ]  # fmt: skip


def _set_verbosity(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Counts the strongest word for ``--verbose`` or ``--quiet``, before or after the command."""
    if not wanted:
        return
    asked = Verbosity.VERBOSE if option.name == "verbose" else Verbosity.QUIET
    now = strength(context, str(option.name))
    before, verbosity = context.meta.get(_VERBOSITY, (Strength.DEFAULT, asked))
    if before == now and verbosity != asked:
        raise click.UsageError("--verbose and --quiet: needed only one", context)
    if now >= before:
        context.meta[_VERBOSITY] = (now, asked)
        set_verbosity(asked)


def _introduced(callback: Any) -> Any:
    """The command, which first says what may be amiss, and if verbose what it was given."""

    @functools.wraps(callback)
    def introduced(*arguments: Any, **values: Any) -> Any:
        context = click.get_current_context()
        if not launched():
            _note_unknown_variables(context)
            _tell_given(context)
        with timed(f"The command {context.info_name}"):
            return callback(*arguments, **values)

    return introduced


def _note_unknown_variables(context: click.Context) -> None:
    program = context.find_root().command
    assert isinstance(program, click.Group)
    every = [program, *program.commands.values(), *commands(program).values()]
    options = [option for command in every for option in command.params]
    known = {str(option.envvar) for option in options} | {*_OTHER_VARIABLES}
    for name in sorted(os.environ):
        if name.startswith(f"{PREFIX}_") and name not in known:
            say(f"Note: the variable {name} is none of this program's{did_you_mean(name, known)}")


def _tell_given(context: click.Context) -> None:
    """Every value that came from the environment or a file."""
    for option in context.command.params:
        name = str(option.name)
        if Strength.DEFAULT < strength(context, name) < Strength.COMMAND_LINE:
            value = context.params.get(name, "")
            detail(f"{option.opts[-1]} {value} is from {place(context, name)}.")
