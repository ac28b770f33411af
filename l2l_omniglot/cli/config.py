"""``--config FILE``: settings from a TOML file, checked whole before anything runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from l2l_omniglot.cli.sources import (
    Given,
    Strength,
    command_name,
    commands,
    note_given,
    option_name,
)
from l2l_omniglot.errors import SettingsError, did_you_mean, needed_name

_NOT_IN_FILES = ("config", "help", "version")


class Entry(NamedTuple):
    """A key of the file that is an option of a command."""

    command: str
    parameter: str
    value: Any
    strength: Strength


def use_config(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    """Makes the file's values the defaults of the options: the callback of ``--config``.

    Raises:
        SettingsError: if it cannot be read, a key is unknown, or a value is of the wrong type.
    """
    if path is None or context.resilient_parsing:
        return
    program = context.find_root().command
    assert isinstance(program, click.Group)
    own = command_name(context).split()
    if context.default_map is None:
        context.default_map = {}
    for entry in sorted(read_config(path, program), key=lambda entry: entry.strength):
        words = entry.command.split()
        if words[: len(own)] != own:
            continue
        defaults = context.default_map
        for word in words[len(own) :]:
            defaults = defaults.setdefault(word, {})
        defaults[entry.parameter] = entry.value
        note_given(context, entry.command, {entry.parameter: Given(path, entry.strength)})


def read_config(path: Path, program: click.Group) -> list[Entry]:
    """The entries of a file, each checked against the option it is for.

    Raises:
        SettingsError: see `use_config`; quotes the key, and what was needed.
    """
    entries: list[Entry] = []
    for key, value in _read_toml(path).items():
        if isinstance(value, dict):
            entries += _section(path, key, value, program)
        else:
            entries += _general(path, key, value, program)
    return entries


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if path.exists() and not path.is_file():
        raise SettingsError(f"--config {path}: not a readable TOML file: not a plain file")
    try:
        body: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return body
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"--config {path}: not a readable TOML file: {reason}") from error


def _section(path: Path, name: str, values: dict[str, Any], program: click.Group) -> list[Entry]:
    sections = {command.replace(" ", "."): command for command in commands(program)}
    inner = [section for section in sections if section.startswith(f"{name}.")]
    if inner and all(isinstance(value, dict) for value in values.values()):
        pairs = [(f"{name}.{key}", value) for key, value in values.items()]
        return [entry for pair in pairs for entry in _section(path, *pair, program)]
    if name not in sections:
        needed = needed_name(name, inner or sorted(sections))
        raise SettingsError(f"{path}: section [{name}]: no such command; {needed}")
    known = dict(_options(commands(program)[sections[name]]))
    entries = []
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{path}: [{name}] {key!r}: {_unknown(key, name, known)}")
        _check(f"{path}: [{name}] {key}", value, known[key])
        entries.append(Entry(sections[name], str(known[key].name), value, Strength.SECTION))
    return entries


def _general(path: Path, key: str, value: Any, program: click.Group) -> list[Entry]:
    entries = []
    for name, command in commands(program).items():
        option = dict(_options(command)).get(key)
        if option is not None:
            _check(f"{path}: {key} (of {name})", value, option)
            entries.append(Entry(name, str(option.name), value, Strength.FILE))
    if not entries:
        all_options = {k: o for c in commands(program).values() for k, o in _options(c)}
        raise SettingsError(f"{path}: {key!r}: {_unknown(key, 'any command', all_options)}")
    return entries


def _options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    for option in command.params:
        if isinstance(option, click.Option) and option_name(option) not in _NOT_IN_FILES:
            yield option_name(option), option


def _unknown(key: str, command: str, known: dict[str, click.Option]) -> str:
    """Why a key is refused."""
    for name, option in known.items():
        if f"--{key}" in option.secondary_opts:
            return f"is the other side of an option; needed {name} = false"
    close = did_you_mean(key, known)
    return f"needed an option of {command}{close}"


def _check(where: str, value: Any, option: click.Option) -> None:
    """Refuses a value of another type than the option's, or out of its range."""
    kinds, needed = _type(option)
    values = value if isinstance(value, list) else [value]
    right = all(
        isinstance(one, kinds) and isinstance(one, bool) == (bool in kinds) for one in values
    )
    if not right or isinstance(value, list) != option.multiple:
        raise SettingsError(f"{where} = {_quoted(value)}: needed {needed}")
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


def _quoted(value: Any) -> str:
    """Nearly as TOML has it."""
    return json.dumps(value, default=str, ensure_ascii=False)
