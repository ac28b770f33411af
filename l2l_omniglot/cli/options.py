"""Options that several commands have, and what is made of them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from l2l_omniglot._util.files import is_special, resolved
from l2l_omniglot._util.process import DEVICES
from l2l_omniglot.backbones.registry import backbone_names
from l2l_omniglot.cli.config import config_files, naming_options
from l2l_omniglot.cli.console import counting, log, timed
from l2l_omniglot.data import DRAWINGS, NAMED_SPLITS, PARTS
from l2l_omniglot.errors import L2LOmniglotError, expected_name
from l2l_omniglot.experiments import READERS, runs
from l2l_omniglot.experiments.recipes import RECIPES
from l2l_omniglot.experiments.settings import DECLARED, Settings
from l2l_omniglot.experiments.weights import (
    best_pretrained,
    check_ways,
    find_weights,
    pretrained_names,
)
from l2l_omniglot.meta import ENGINES

if TYPE_CHECKING:
    from l2l_omniglot.data.stack import Stack
    from l2l_omniglot.experiments.checkpoint import Checkpoint
    from l2l_omniglot.meta.workers import Workers

F = TypeVar("F", bound=Callable[..., Any])
Completer = Callable[[Any, Any, str], "list[CompletionItem[str]]"]


def combined(*each: Callable[[F], F]) -> Callable[[F], F]:
    """Returns several options as one decorator, in the order of ``--help``."""

    def apply(function: F) -> F:
        for option in reversed(each):
            function = option(function)
        return function

    return apply


class Name(click.Choice):  # type: ignore[type-arg]  # it is not generic in click 8.1
    """One of some names; for a mistyped one the error says which is closest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name as it is, or refuses it."""
        if value not in self.choices:
            self.fail(f"{value!r}: {expected_name(str(value), self.choices)}", param, ctx)
        return str(value)


MOST_MINUTES = 10_000_000.0  # 19 years


class _Minutes(click.FloatRange):
    """Above 0; click's own range lets NaN through."""

    name = "minutes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value}: expected a number of minutes above 0", param, ctx)
        return number


MINUTES = _Minutes(min=0, min_open=True, max=MOST_MINUTES)
COUNT = 10_000_000  # of tasks, images or pairs, at most


class GivenPath(click.Path):
    """A path; an empty text, as of a variable that is not set, is none."""

    expected = "a path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path."""
        if value == "":
            self.fail(f"'': expected {self.expected}", param, ctx)
        return Path(str(super().convert(value, param, ctx)))


class FolderPath(GivenPath):
    """A folder to read."""

    expected = "a folder"


class OutputPath(GivenPath):
    """A path to write to; one that cannot be is refused at once, not after the work.

    Args:
        folder: whether it is of a folder.
        suffixes: those that a file may have; any if there are none.
    """

    def __init__(self, *suffixes: str, folder: bool = False) -> None:
        super().__init__(file_okay=not folder, dir_okay=folder)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path; wrong usage where it cannot be written to."""
        path = super().convert(value, param, ctx)
        try:
            problem = self._problem(path)
        except OSError as error:  # a folder that may not be read, a loop of links
            problem = error.strerror or str(error)
        if problem:
            self.fail(f"'{value}': {problem}", param, ctx)
        return path

    def _problem(self, path: Path) -> str:
        """Says why it cannot be written to; empty where it can."""
        context = click.get_current_context(silent=True)
        if context and any(is_same(path, file) for file in config_files(context)):
            return "is the file of the configuration; expected another"
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            return f"expected a file name that ends in {self.suffixes[0]}"
        if is_special(path) and not self.dir_okay:
            return "" if os.access(path, os.W_OK) else "may not be written to"
        target = resolved(path)
        places = [target, *target.parents] if self.dir_okay else [*target.parents]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # raises of too long a name, or a loop of links
        nearest = next(place for place in places if place.exists())
        if not nearest.is_dir():
            return f"{nearest} is a file; expected a folder"
        if target.is_file() and not os.access(target, os.W_OK):
            return "may not be written to"
        writable = os.access(nearest, os.W_OK | os.X_OK)
        return "" if writable else f"the folder {nearest} may not be written to"


def is_same(one: Path, other: Path) -> bool:
    """Returns whether two paths are of one file, by whatever name, there already or not."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return resolved(one) == resolved(other)


def completing(names: Callable[[], Iterable[str]]) -> Completer:
    """Completes a name, the last of several between commas, or else a file's."""

    def complete(_context: Any, _parameter: Any, word: str) -> list[CompletionItem[str]]:
        before, comma, last = word.rpartition(",")
        items = [
            CompletionItem(f"{before}{comma}{name}")
            for name in names()
            if name.startswith(last) and name not in before.split(",")
        ]
        return items or [CompletionItem(word, type="file")]

    return complete


def known_runs() -> list[str]:
    """Lists the run folders, the newest first."""
    return [str(run.path) for run in runs.known_runs()]


def known_weights() -> list[str]:
    """Lists the names of pretrained weights, and the runs."""
    return [*pretrained_names(), *known_runs()]


# What completes a setting.
COMPLETED: dict[str, Callable[[], Iterable[str]]] = {
    "backbone": backbone_names,
    "start_from": known_weights,
    "data": lambda: READERS,
    "split": lambda: NAMED_SPLITS,
}
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str}


def settings_options(*names: str, by_default: str = "") -> Callable[[F], F]:
    """Adds options made from the declarations of settings; None where they are not given.

    Args:
        names: of the settings.
        by_default: in words, where it is not the settings' own.
    """
    return combined(*(_setting_option(name, by_default) for name in names))


def _setting_option(name: str, by_default: str) -> Callable[[F], F]:
    declared = DECLARED[name]
    choices = tuple(RECIPES) if name == "recipe" else declared.choices
    flag = f"{declared.option}/{declared.opposite}"
    return click.option(
        flag if declared.kind == "bool" else declared.option,
        type=Name(choices) if choices else _TYPES.get(declared.kind),
        default=None,
        callback=_check_setting,
        help=f"{declared.help} ({by_default or declared.by_default}).",
        shell_complete=completing(COMPLETED[name]) if name in COMPLETED else None,
    )


def _check_setting(context: click.Context, option: click.Parameter, value: Any) -> Any:
    if value is not None:
        with naming_options(context):
            DECLARED[str(option.name)].check(value)
    return value


def device_option(default: str = "auto") -> Callable[[F], F]:
    """``--device``."""
    return click.option(
        "--device", type=Name(DEVICES), default=default, show_default=True,
        help="Device to compute on.",
    )  # fmt: skip


computing_options = combined(
    device_option(),
    click.option("--engine", type=Name(ENGINES), default="auto", show_default=True,
                 help="Compute tasks one by one (learn2learn), or many at once (stacked)."),
)  # fmt: skip
part_option = click.option(
    "--part", type=Name(PARTS), default="test", show_default=True,
    help="Part of the split that tasks are drawn from; all: every class, of data that the weights "
    "were not trained on.",
)  # fmt: skip
alphabet_option = click.option("--within-alphabet", is_flag=True,
                               help="Draw the classes of each task from one alphabet.")  # fmt: skip
json_option = click.option("--json", is_flag=True, help="Print JSON.")


def steps_option(most: int = 10_000) -> Callable[[F], F]:
    """``--steps``."""
    return click.option(
        "--steps", type=click.IntRange(0, most), default=None,
        help="Gradient steps on the support set (as trained).",
    )  # fmt: skip


BEST_WEIGHTS = "the best pretrained for any number of classes"


def weights_option(by_default: str, multiple: bool = False) -> Callable[[F], F]:
    """``--weights``, which names them in every command the same way."""
    return click.option(
        "--weights", default=None, metavar="NAME|RUN|FILE", multiple=multiple,
        shell_complete=completing(known_weights),
        help=f"Pretrained weights, run folder or checkpoint file ({by_default}).",
    )  # fmt: skip


class Weights:
    """Weights asked for, else the best pretrained ones for any number of classes; read once.

    Args:
        given: see `find_weights`.
    """

    def __init__(self, given: str | None) -> None:
        self._given = given

    @property
    def pictures(self) -> str:
        """Returns what they see of a picture; of the pretrained ones without loading torch."""
        if self._given is None or self._given in pretrained_names():
            return DRAWINGS
        return self._checkpoint.pictures

    def load(self, ways: int) -> Checkpoint:
        """Loads them.

        Raises:
            SettingsError: if their head was trained for another number of classes.
        """
        check_ways(self._checkpoint.settings, ways, self._name, f"{ways} classes")
        return self._checkpoint

    @cached_property
    def _name(self) -> str:
        return best_pretrained() if self._given is None else self._given

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return find_weights(self._given, default=self._name)


def absolute(given: dict[str, Any]) -> dict[str, Any]:
    """Makes paths absolute, so that a saved run finds its data from anywhere; drops None."""
    values = {name: value for name, value in given.items() if value is not None}
    for name, ending in (("data", ".npy"), ("split", ".json")):
        if values.get(name, "").endswith(ending):
            values[name] = str(resolved(values[name]))
    start = values.get("start_from", "")
    data = values.get("data")
    if data and data not in READERS and Path(data).is_dir():  # whose names come first
        values["data"] = str(resolved(data))
    if start and start not in pretrained_names() and Path(start).exists():
        values["start_from"] = str(resolved(start))
    return values


def open_stack(settings: Settings) -> Stack:
    """Opens the data of some settings; prepares what is not prepared yet."""
    from l2l_omniglot.experiments.readers import open_data

    with timed("Opening the data"), counting("preparing", "item") as progress:
        stack = open_data(settings, log.info, progress)
    log.debug(stack.summary)
    return stack


@contextmanager
def worker(settings: Settings, device: str) -> Iterator[tuple[Workers, Stack]]:
    """Makes this process one of torchrun's, or the only one, in the block, and opens the data.

    The first opens the data before the others do, after preparing them if need be, and it alone
    writes to stderr.
    """
    from l2l_omniglot._util.process import choose_device
    from l2l_omniglot.meta.workers import joined, take_own_cores

    take_own_cores()
    with joined(choose_device(device)) as workers, contextlib.ExitStack() as quiet:
        if not workers.first:
            nowhere = quiet.enter_context(Path(os.devnull).open("w"))
            quiet.enter_context(contextlib.redirect_stderr(nowhere))
            if code := workers.from_first(0):
                raise SystemExit(code)
        try:
            stack = open_stack(settings)
        except L2LOmniglotError as error:
            if workers.first:
                workers.from_first(error.exit_code)
            raise
        if workers.first:
            workers.from_first(0)
        yield workers, stack
