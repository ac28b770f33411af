"""What all commands have, and where the values of options come from: ``--config`` and others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from l2l_omniglot._util.process import launched
from l2l_omniglot.cli.console import QUIET, VERBOSE, log, timed
from l2l_omniglot.errors import L2LOmniglotError, SettingsError, did_you_mean, expected_name

PREFIX = "L2L_OMNIGLOT"
# Variables of the library, which would load NumPy to tell their names.
OTHER_VARIABLES = tuple(f"{PREFIX}_{name}" for name in ("CACHE", "SOURCE", "MIRROR", "RUNS"))
_FILES, _LEVEL = f"{__name__}.files", f"{__name__}.level"  # of a context's `meta`


class _Common(click.Command):
    """A command with ``--config``, ``--verbose`` and ``--quiet``."""

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self.params += [
            click.Option(
                ["--config"], type=click.Path(path_type=Path, dir_okay=False), is_eager=True,
                expose_value=False, callback=_use_config,
                help="TOML file of options, see docs/commands.md (none).",
            ),
            click.Option(
                ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set_level,
                help="Print more, including the traceback of an unexpected failure.",
            ),
            click.Option(
                ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_level,
                help="Print only results and errors.",
            ),
        ]  # fmt: skip


class Group(_Common, click.Group):
    """A command that has commands of its own."""


class Command(_Common):
    """A command that does something; if verbose, it first says where its options come from."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it; an error names the option."""
        with naming_options(ctx), timed(f"The command {ctx.info_name}"):
            if not launched():
                _note_unknown_variables(_program(ctx))
                for option in self.params:
                    if where := from_where(ctx, str(option.name)):
                        log.debug(
                            f"{option.opts[-1]} {ctx.params.get(str(option.name), '')}{where}"
                        )
            return super().invoke(ctx)


def _set_level(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    level = VERBOSE if option.name == "verbose" else QUIET
    if context.meta.setdefault(_LEVEL, level) != level:
        raise click.UsageError("--verbose and --quiet: expected only one", context)
    log.setLevel(level)


@contextmanager
def naming_options(context: click.Context) -> Iterator[None]:
    """Puts the option into an error that names an argument of the library, and its source."""
    try:
        yield
    except L2LOmniglotError as error:
        for option in context.command.params:
            if error.argument and option.name == error.argument:
                text = str(error).replace(f"{error.argument}=", f"{option.opts[0]} ", 1)
                raise type(error)(text + from_where(context, error.argument)) from error
        raise


def commands(program: click.Group) -> dict[str, click.Command]:
    """The commands that do something, by what is typed to call them, such as ``show data``."""
    found: dict[str, click.Command] = {}
    for name, command in program.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": leaf for inner, leaf in commands(command).items()}
        else:
            found[name] = command
    return found


def from_where(context: click.Context, name: str) -> str:
    """Where the value of a parameter was set, to end a message; empty for the command line."""
    found = context.get_parameter_source(name)
    if found is ParameterSource.ENVIRONMENT:
        return f" (from the variable {context.auto_envvar_prefix}_{name.upper()})"
    if found is ParameterSource.DEFAULT_MAP:
        return f" (from {context.meta[_FILES][_typed(context), name]})"
    return ""


def _program(context: click.Context) -> click.Group:
    program = context.find_root().command
    assert isinstance(program, click.Group)
    return program


def _typed(context: click.Context) -> str:
    """What was typed to call the context's command; empty for the program itself."""
    return context.command_path.removeprefix(context.find_root().command_path).strip()


def _note_unknown_variables(program: click.Group) -> None:
    known = {
        "_".join([PREFIX, *words.replace("-", " ").split(), str(option.name)]).upper()
        for words, command in {"": program, **commands(program)}.items()
        for option in command.params
    }.union(OTHER_VARIABLES)
    for name in sorted(os.environ):
        if name.startswith(f"{PREFIX}_") and name not in known:
            log.info(f"Note: unknown variable {name}{did_you_mean(name, known)}")


def _use_config(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    """Makes the file's values the defaults of the options.

    Raises:
        SettingsError: if it cannot be read, a key is unknown, or a value is of the wrong type.
    """
    if path is None or context.resilient_parsing:
        return
    own, files = f"{_typed(context)} ".lstrip(), context.meta.setdefault(_FILES, {})
    context.default_map = dict(context.default_map or {})
    for command, values in read_config(path, _program(context)).items():
        if f"{command} ".startswith(own):
            defaults: Any = context.default_map
            for word in f"{command} ".removeprefix(own).split():
                defaults = defaults.setdefault(word, {})
            defaults |= values
            files |= {(command, name): path for name in values}


def read_config(path: Path, program: click.Group) -> dict[str, dict[str, Any]]:
    """The values that a file has for the parameters of each command, all of them checked.

    Raises:
        SettingsError: quotes the key, and what was expected.
    """
    body, known = _read_toml(path), commands(program)
    found: dict[str, dict[str, Any]] = {name: {} for name in known}
    every = {key: option for command in known.values() for key, option in _options(command).items()}
    for key, value in body.items():
        if isinstance(value, dict):
            continue
        if key not in every:
            raise SettingsError(f"{path}: {key!r}: {_unknown(key, 'any command', every)}")
        for name, command in known.items():
            if option := _options(command).get(key):
                _check(f"{path}: {key} (of {name})", value, option)
                found[name][str(option.name)] = value
    for name, values in _sections(path, body, known):
        options, section = _options(known[name]), name.replace(" ", ".")
        for key, value in values.items():
            if key not in options:
                wrong = _unknown(key, section, options)
                raise SettingsError(f"{path}: [{section}] {key!r}: {wrong}")
            _check(f"{path}: [{section}] {key}", value, options[key])
            found[name][str(options[key].name)] = value
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        if path.exists() and not path.is_file():  # such as /dev/zero, which never ends
            raise ValueError("not a plain file")
        body: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return body
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"--config {path}: not a readable TOML file: {reason}") from error


def _sections(
    path: Path, body: dict[str, Any], known: dict[str, click.Command], outer: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sections, by what is typed to call their command."""
    for key, values in body.items():
        name = f"{outer}{key}"
        if name in known:
            yield name, values
        elif isinstance(values, dict):
            inner = [command for command in known if command.startswith(f"{name} ")]
            if inner and all(isinstance(value, dict) for value in values.values()):
                yield from _sections(path, values, known, f"{name} ")
                continue
            section = name.replace(" ", ".")
            names = [command.replace(" ", ".") for command in inner or sorted(known)]
            raise SettingsError(
                f"{path}: section [{section}]: no such command; {expected_name(section, names)}"
            )


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options that may stand in a file, by their keys there."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    keys = {str(option.name).replace("_", "-"): option for option in options}
    return {key: option for key, option in keys.items() if key != "config"}


def _unknown(key: str, command: str, known: dict[str, click.Option]) -> str:
    """Why a key is refused."""
    for name, option in known.items():
        if f"--{key}" in option.secondary_opts:
            return f"is the other side of an option; expected {name} = false"
    return f"expected an option of {command}{did_you_mean(key, known)}"


def _check(where: str, value: Any, option: click.Option) -> None:
    """Refuses a value of another type than the option's, or out of its range."""
    kinds, expected = _type(option)
    values = value if isinstance(value, list) else [value]
    fits = all(
        isinstance(one, kinds) and isinstance(one, bool) == (bool in kinds) for one in values
    )
    if not fits or isinstance(value, list) != option.multiple:
        quoted = json.dumps(value, default=str, ensure_ascii=False)  # nearly as TOML has it
        raise SettingsError(f"{where} = {quoted}: expected {expected}")
    for one in values:
        try:
            option.type.convert(one, option, None)
        except click.BadParameter as error:
            raise SettingsError(f"{where}: {error.message.rstrip('.')}") from error


def _type(option: click.Option) -> tuple[tuple[type, ...], str]:
    """The Python types a value of the option may have, and the same in words."""
    if option.multiple:
        return (str,), 'a list of texts, such as ["one", "two"]'
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(option.type, click.types.IntParamType):
        return (int,), "a whole number"
    if isinstance(option.type, click.types.FloatParamType):
        return (int, float), "a number"
    return (str,), "a text in quotes"
