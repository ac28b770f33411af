"""Every option of every command: a default, a unit, a choice that knows close matches."""

import re

import click
import pytest
from click.testing import CliRunner

from l2l_omniglot.cli import cli
from l2l_omniglot.cli.config import commands
from l2l_omniglot.cli.options import Name, OutputPath
from l2l_omniglot.experiments.declaration import GROUPS
from l2l_omniglot.experiments.settings import DECLARED
from tools import options_page

# What a number counts or measures; a seed does neither.
UNITS = (
    "classes", "images", "tasks", "steps", "iterations", "meta-updates", "minutes", "seconds",
    "pixels", "trials", "fraction of", "learning rate", "port", "characters", "pairs", "columns",
)  # fmt: skip


def every_option() -> list[tuple[str, click.Option, str]]:
    """With the command it is of, and its help as printed."""
    found = []
    for name, command in [("", cli), *commands(cli).items()]:
        context = click.Context(command, info_name=name)
        for option in command.params:
            if isinstance(option, click.Option) and option.name not in {"help", "version"}:
                record = option.get_help_record(context)
                assert record is not None
                found.append((name, option, record[1]))
    return found


OPTIONS = every_option()


@pytest.mark.parametrize(
    ("option", "text"),
    [(option, text) for _, option, text in OPTIONS],
    ids=[f"{name}{max(option.opts, key=len)}" for name, option, _ in OPTIONS],
)
def test_its_help_gives_its_default_and_unit(option: click.Option, text: str):
    own = option.help or ""
    assert own[0].isupper()
    plain_flag = option.is_flag and not option.secondary_opts
    bracketed = re.search(r"\([^()]+\)\.$", own) or "[default: " in text
    assert plain_flag or option.required or bracketed, text
    number = isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
    if number and not str(option.name).endswith("seed"):
        assert any(unit in own.lower() for unit in UNITS), f"no unit in {own!r}"


def test_every_setting_is_an_option_of_train_as_it_is_declared():
    options = {option.name: option for option in cli.commands["train"].params}
    for name, declared in DECLARED.items():
        option = options[name]
        assert isinstance(option, click.Option) and option.default is None
        assert option.help == f"{declared.help} ({declared.by_default})."
        words = declared.words(True if declared.kind == "bool" else declared.default)
        assert words[0] in option.opts
        if declared.kind == "bool":
            assert declared.words(False)[0] in option.secondary_opts
        if declared.choices:
            assert isinstance(option.type, Name)
            assert tuple(option.type.choices) == declared.choices


def test_every_choice_knows_close_matches():
    choices = [option for _, option, _ in OPTIONS if isinstance(option.type, click.Choice)]
    assert choices
    for option in choices:
        assert isinstance(option.type, Name), option.opts


def test_train_groups_its_options_as_they_are_declared():
    text = CliRunner().invoke(cli, ["train", "--help"]).output
    sections = re.split(r"^([A-Z]\w+):\n", text, flags=re.M)[1:]
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(found) == [*(group.capitalize() for group in GROUPS), "Others"]
    for declared in DECLARED.values():
        owners = [
            name for name, body in found.items() if re.search(_word(declared.option), body, re.M)
        ]
        assert owners == [declared.group.capitalize()], declared.name
    for option in ("--run-dir", "--resume"):
        assert re.search(_word(option), found["Run"], re.M)
    assert re.search(_word("--device"), found["Computing"], re.M)
    options = re.findall(r"^  (?:-\w, )?--[\w-]+", found["Others"], re.M)
    assert len(options) == 5  # --config, --verbose, --quiet, --offline, --help
    assert max(len(re.findall("^  -", body, re.M)) for body in found.values()) < 20


def _word(option: str) -> str:
    return rf"^  {option}(?![\w-])"


def test_the_page_of_options_has_every_option_of_every_command():
    intro, *sections = re.split(r"^## ", options_page.page(), flags=re.M)
    found = {body.partition("\n")[0]: body for body in sections}
    assert found.keys() == {"Every command", *commands(cli)}
    for name, command in commands(cli).items():
        for option in command.params:
            if isinstance(option, click.Option) and option.name not in options_page.COMMON:
                assert f"`{option.opts[0]}`" in found[name], (name, option.opts)
    assert "`--offline`" in found["Every command"] and "commands.md" in intro


def test_help_points_to_nothing_that_an_installed_package_does_not_have():
    for words in ([], ["show"], *(name.split() for name in commands(cli))):
        assert "docs/" not in CliRunner().invoke(cli, [*words, "--help"]).output, words


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_and_what_all_have(name: str):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    for option in ("--config", "--verbose", "--quiet", "--offline"):
        assert option in result.output


def test_every_command_that_writes_one_file_calls_it_out():
    files = [
        (name, *option.opts)
        for name, option, _ in OPTIONS
        if isinstance(option.type, OutputPath) and not option.type.dir_okay
    ]
    more = ("predict", "--show")  # beside the predictions, a picture of them
    assert more in files
    files.remove(more)
    commands = {"export", "predict", "prepare", "report", "show data", "show task"}
    assert commands <= {name for name, *_ in files}
    assert all(options == ["--out"] for _, *options in files), files
