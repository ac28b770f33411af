"""What all commands have, and where the values of options come from: ``--config`` and others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from click.core import ParameterSource

from l2l_omniglot._util.files import OFFLINE_VARIABLE
from l2l_omniglot._util.process import launched
from l2l_omniglot._util.reading import (
    MOST_DOTS,
    MOST_TOML,
    UnreadableError,
    check_depth,
    read_text,
    reason_of,
)
from l2l_omniglot.cli.console import QUIET, VERBOSE, log, timed
from l2l_omniglot.errors import L2LOmniglotError, SettingsError, did_you_mean, expected_name

PREFIX = "L2L_OMNIGLOT"
# Variables of the library, which would load NumPy to tell their names.
OTHER_VARIABLES = tuple(f"{PREFIX}_{name}" for name in ("CACHE", "SOURCE", "MIRROR", "RUNS"))
_FILES, _LEVEL = f"{__name__}.files", f"{__name__}.level"  # of a context's `meta`


class _Common(click.Command):
    """A command with ``--config``, ``--verbose``, ``--quiet`` and ``--offline``."""

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super().__init__(*arguments, **values)
        level = partial(click.Option, is_flag=True, expose_value=False, callback=_set_level)
        self.params += [
            click.Option(
                ["--config"], type=click.Path(path_type=Path, dir_okay=False), is_eager=True,
                expose_value=False, callback=_use_config,
                help="TOML file of options, with a section for each command (none).",
            ),
            level(["-v", "--verbose"], help="Print more, and the traceback of a crash."),
            level(["-q", "--quiet"], help="Print only results and errors."),
            click.Option(
                ["--offline"], is_flag=True, expose_value=False, callback=_go_offline,
                help="Never use the network; what would be downloaded is an error.",
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
                _note_unknown_variables(ctx.find_root().command)
                for option in self.params:
                    if where := from_where(ctx, str(option.name)):
                        log.debug(
                            f"{option.opts[-1]} {ctx.params.get(str(option.name), '')}{where}"
                        )
            return super().invoke(ctx)


class Sectioned(Command):
    """A command whose help has a section for each group of options.

    Args:
        groups: the group of each option, by its name; those left out come last.
    """

    def __init__(self, *arguments: Any, groups: dict[str, str], **values: Any) -> None:
        super().__init__(*arguments, **values)
        self.groups = groups

    def sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Returns the options as ``--help`` prints them, by the title of their section."""
        sections: dict[str, list[tuple[str, str]]] = {
            group.capitalize(): [] for group in dict.fromkeys(self.groups.values())
        }
        for option in self.get_params(ctx):
            if record := option.get_help_record(ctx):
                group = self.groups.get(str(option.name), "others")
                sections.setdefault(group.capitalize(), []).append(record)
        return sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections."""
        for title, records in self.sections(ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)


def _set_level(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    level = VERBOSE if option.name == "verbose" else QUIET
    if context.meta.setdefault(_LEVEL, level) != level:
        raise click.UsageError("--verbose and --quiet: expected only one", context)
    log.setLevel(level)


def _go_offline(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ[OFFLINE_VARIABLE] = "1"  # of this process, and of those it starts


@contextmanager
def naming_options(
    context: click.Context, set_by: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Tells an error that refuses an argument of the library its option, and the source.

    Args:
        context: of the command.
        set_by: parameters by the arguments of another name that they set.
    """
    try:
        yield
    except L2LOmniglotError as error:
        called = {given.name: _called(given) for given in context.command.params}
        name = set_by.get(error.argument, error.argument)
        if name in called and not error.option:  # the innermost knows best
            error.option = called[name]
            error.source = from_where(context, name)
        if name != error.argument:
            error.value = context.params[name]
        raise


def _called(given: click.Parameter) -> str:
    return given.opts[0] if isinstance(given, click.Option) else given.human_readable_name


def commands(program: click.Group) -> dict[str, click.Command]:
    """Returns the commands that do something, by what is typed, such as ``show data``."""
    leaves: dict[str, click.Command] = {}
    for name, command in program.commands.items():
        if isinstance(command, click.Group):
            leaves |= {f"{name} {inner}": leaf for inner, leaf in commands(command).items()}
        else:
            leaves[name] = command
    return leaves


def from_where(context: click.Context, name: str) -> str:
    """Says where a parameter was set, to end a message; empty for the command line."""
    source = context.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return f" (from the variable {context.auto_envvar_prefix}_{name.upper()})"
    if source is ParameterSource.DEFAULT_MAP:
        return f" (from {context.meta[_FILES][_typed(context), name]})"
    return ""


def given_options(context: click.Context, typed: bool = False) -> dict[str, click.Parameter]:
    """Returns the parameters that the user sets, by name; if `typed`, on the command line only."""
    sources = {ParameterSource.COMMANDLINE}
    if not typed:
        sources |= {ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP}
    return {
        str(option.name): option
        for option in context.command.params
        if context.get_parameter_source(str(option.name)) in sources
    }


def _typed(context: click.Context) -> str:
    """Returns what was typed to call the context's command; empty for the program itself."""
    return context.command_path.removeprefix(context.find_root().command_path).strip()


def _note_unknown_variables(program: Any) -> None:
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
    program: Any = context.find_root().command
    prefix, files = f"{_typed(context)} ".lstrip(), context.meta.setdefault(_FILES, {})
    context.default_map = dict(context.default_map or {})
    for command, values in read_config(path, program).items():
        if f"{command} ".startswith(prefix):
            defaults: Any = context.default_map
            for word in f"{command} ".removeprefix(prefix).split():
                defaults = defaults.setdefault(word, {})
            defaults |= values
            files |= {(command, name): path for name in values}


def config_files(context: click.Context) -> set[Path]:
    """Returns the files that values of options come from."""
    return set(context.meta.get(_FILES, {}).values())


def read_config(path: Path, program: click.Group) -> dict[str, dict[str, Any]]:
    """Returns the values that a file has for the parameters of each command, all of them checked.

    Raises:
        SettingsError: quotes the key, and what was expected.
    """
    body, known = _read_toml(path), commands(program)
    options = {name: _options(command) for name, command in known.items()}
    every = {key: option for by_key in options.values() for key, option in by_key.items()}
    config: dict[str, dict[str, Any]] = {name: {} for name in known}
    for key, value in body.items():
        if not isinstance(value, dict):
            option = _known(f"{path}: {key!r}", key, "any command", every)
            for name in known:
                if key in options[name]:
                    _check(f"{path}: {key} (of {name})", value, options[name][key])
                    config[name][str(option.name)] = value
    for name, values in _sections(path, body, known):
        section = name.replace(" ", ".")
        for key, value in values.items():
            option = _known(f"{path}: [{section}] {key!r}", key, section, options[name])
            _check(f"{path}: [{section}] {key}", value, option)
            config[name][str(option.name)] = value
    return config


def config_text(command: str, values: Mapping[str, Any], about: str) -> str:
    """Returns a file that `read_config` takes, with values for the parameters of a command."""
    lines = (
        f"{name.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}"  # as TOML has them
        for name, value in values.items()
    )
    return "\n".join([f"# {about}", f"[{command}]", *lines, ""])


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = read_text(path, MOST_TOML).removeprefix("\ufeff")  # as Windows' Notepad begins
        if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
            raise UnreadableError(f"a line of more than {MOST_DOTS} dots")
        body: dict[str, Any] = tomllib.loads(text)
        check_depth(body)
        return body
    except FileNotFoundError as error:
        raise SettingsError(f"--config {path}: no such file") from error
    except RecursionError as error:
        raise SettingsError(
            f"--config {path}: not a readable TOML file: nested too deep"
        ) from error
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        reason = reason_of(error)
        raise SettingsError(f"--config {path}: not a readable TOML file: {reason}") from error


def _sections(
    path: Path, body: dict[str, Any], known: dict[str, click.Command]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the sections, by what is typed to call their command."""
    for key, values in body.items():
        if not isinstance(values, dict):
            continue
        inner = [name for name in known if name.startswith(f"{key} ")]
        tables = {f"{key} {name}": values[name] for name in values} if inner else {key: values}
        for name, table in tables.items():
            if name not in known or not isinstance(table, dict):
                section, *names = (
                    each.replace(" ", ".") for each in (name, *(inner or sorted(known)))
                )
                raise SettingsError(
                    f"{path}: section [{section}]: no such command; {expected_name(section, names)}"
                )
            yield name, table


def _options(command: click.Command) -> dict[str, click.Option]:
    """Returns the options that may stand in a file, by their keys there."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    keys = {str(option.name).replace("_", "-"): option for option in options}
    return {key: option for key, option in keys.items() if key != "config"}


def _known(where: str, key: str, command: str, known: dict[str, click.Option]) -> click.Option:
    """Returns the option that a key means; refuses one that means none."""
    for name, option in known.items():
        if f"--{key}" in option.secondary_opts:
            raise SettingsError(f"{where}: is the other side of an option; expected {name} = false")
    if key not in known:
        raise SettingsError(f"{where}: expected an option of {command}{did_you_mean(key, known)}")
    return known[key]


def _check(where: str, value: Any, option: click.Option) -> None:
    """Refuses a value of another type than the option's, or out of its range."""
    kinds, expected = _type(option)
    values = value if isinstance(value, list) else [value]
    fits = all(
        isinstance(entry, kinds) and isinstance(entry, bool) == (bool in kinds) for entry in values
    )
    if not fits or isinstance(value, list) != option.multiple:
        quoted = json.dumps(value, default=str, ensure_ascii=False)  # nearly as TOML has it
        raise SettingsError(f"{where} = {quoted}: expected {expected}")
    for entry in values:
        if "\0" in str(entry):
            raise SettingsError(f"{where} = {entry!r}: expected a text without null bytes")
        try:
            option.type.convert(entry, option, None)
        except click.BadParameter as error:
            raise SettingsError(f"{where}: {error.message.rstrip('.')}") from error


def _type(option: click.Option) -> tuple[tuple[type, ...], str]:
    """Returns the Python types a value of the option may have, and the same in words."""
    if option.multiple:
        return (str,), 'a list of texts, such as ["one", "two"]'
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(option.type, click.types.IntParamType):
        return (int,), "a whole number"
    if isinstance(option.type, click.types.FloatParamType):
        return (int, float), "a number"
    return (str,), "a text in quotes"
