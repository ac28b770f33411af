"""``l2l-omniglot show``."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.cli.config import Command, Group
from l2l_omniglot.cli.console import log
from l2l_omniglot.cli.options import (
    Name,
    OutputPath,
    absolute,
    open_stack,
    options,
    part_option,
    settings_options,
    weights_option,
    within_alphabet_option,
)
from l2l_omniglot.experiments.settings import Settings, make_settings

if TYPE_CHECKING:
    from l2l_omniglot.data.stack import ImageStack
    from l2l_omniglot.reports.contact_sheet import ContactSheet

PARTS = ("train", "validation", "test")
PNG = ".png"

data_options = settings_options("data", "background", "split", "split_seed", "validation_classes")
output_options = options(
    click.option("--output", type=OutputPath(), default=None,
                 help="PNG file to write (the terminal)."),
)  # fmt: skip


@click.group(cls=Group, short_help="Show characters, or a task, as a picture.")
def show() -> None:
    """Show characters of a data set, or a task, as a PNG or on the terminal."""


@show.command(cls=Command)
@click.option("--part", type=Name(["all", *PARTS]), default="all", show_default=True,
              help="Classes to choose from.")  # fmt: skip
@click.option("--classes", type=click.IntRange(min=1), default=20, show_default=True,
              help="How many classes, evenly spread over the part.")  # fmt: skip
@click.option("--class", multiple=True, metavar="NAME",
              help="Classes with NAME in their name; may be given again (none).")  # fmt: skip
@click.option("--items", type=click.IntRange(min=1), default=10, show_default=True,
              help="Images a class.")  # fmt: skip
@data_options
@output_options
def data(
    part: str,
    classes: int,
    items: int,
    output: Path | None,
    **given: Any,
) -> None:
    """Show images of some classes."""
    _check_output(output)
    names: tuple[str, ...] = given.pop("class")
    settings = make_settings(**absolute(given))
    stack = open_stack(settings)
    from l2l_omniglot.reports.contact_sheet import class_sheet

    numbers = _part(settings, stack, part)
    found = _named(stack, numbers, names) if names else numbers
    chosen = found[:classes] if names else _spread(found, classes)
    shown = f"{len(chosen)} of {len(found)}"
    title = f"{Path(stack.name).stem}, {part}: {shown} classes"
    _give(class_sheet(stack, chosen, items, title), output)


@show.command(cls=Command)
@click.argument("number", type=click.IntRange(min=0))
@weights_option("none: settings of a recipe")
@part_option
@settings_options("ways", "shots", "queries")
@click.option("--seed", type=int, default=None,
              help="Of the tasks (0; of parts train and validation the run's).")  # fmt: skip
@within_alphabet_option
@settings_options("recipe", "rotations", "mirrors")
@data_options
@output_options
def task(
    number: int,
    weights: str | None,
    part: str,
    seed: int | None,
    within_alphabet: bool,
    output: Path | None,
    **given: Any,
) -> None:
    """Show task NUMBER of a part: the very one that `train` and `evaluate` use.

    Iteration t of a training with meta-batches of 8 uses tasks 8t to 8t + 7 of part train, each
    validation tasks 0, 1, ... of part validation, `evaluate` tasks 0, 1, ... of part test.
    """
    _check_output(output)
    settings = _settings(weights, absolute(given))
    stack = open_stack(settings)
    from l2l_omniglot.experiments.experiment import TaskStreams
    from l2l_omniglot.reports.contact_sheet import task_sheet

    own = settings.seed if part != "test" else 0  # that of `evaluate`
    tasks = TaskStreams(settings, stack).tasks(
        part, seed=own if seed is None else seed, within_alphabet=within_alphabet
    )
    _give(task_sheet(tasks, number), output)


def _settings(weights: str | None, given: dict[str, Any]) -> Settings:
    """Those of trained weights, with what is given changed; or a recipe's."""
    if weights is None:
        return make_settings(**given)
    if "recipe" in given:
        raise click.UsageError(
            f"--weights {weights} and --recipe {given['recipe']}: expected only one"
        )
    from l2l_omniglot.experiments.weights import find_weights

    if "queries" in given:
        given["train_queries"] = given["queries"]
    return dataclasses.replace(find_weights(weights).settings, **given)


def _check_output(output: Path | None) -> None:
    if output is not None and output.suffix.lower() != PNG:
        raise click.UsageError(f"--output {output}: expected a file name that ends in {PNG}")


def _part(settings: Settings, stack: ImageStack, part: str) -> list[int]:
    """Class numbers of a part."""
    if part == "all":
        return list(range(stack.classes))
    from l2l_omniglot.experiments.experiment import settings_splits

    return list(getattr(settings_splits(settings, stack), part))


def _named(stack: ImageStack, numbers: list[int], names: tuple[str, ...]) -> list[int]:
    """The classes of those names; where there is none, those with it in their name."""
    from l2l_omniglot.errors import DataError

    found: list[int] = []
    for name in names:
        exact = [number for number in numbers if stack.names[number] == name]
        like = [number for number in numbers if name.lower() in stack.names[number].lower()]
        if not like:
            raise DataError(
                f"--class {name!r}: no class here has that in its name; expected one such as "
                f"{stack.names[numbers[0]]!r}"
            )
        found += exact or like
    return list(dict.fromkeys(found))


def _spread(numbers: list[int], count: int) -> list[int]:
    """So many of them, evenly spread."""
    count = min(count, len(numbers))
    return [numbers[place * len(numbers) // count] for place in range(count)]


def _give(sheet: ContactSheet, output: Path | None) -> None:
    """Writes a sheet to the file, or to stdout."""
    if output is None:
        from l2l_omniglot.reports.terminal import check_encoding, to_text

        encoding = sys.stdout.encoding or "ascii"
        check_encoding(encoding)
        text = to_text(sheet, shutil.get_terminal_size().columns)
        click.echo(text.encode(encoding, "replace").decode(encoding))
        return
    from l2l_omniglot._util.files import atomic_write
    from l2l_omniglot.reports.contact_sheet import to_image

    with atomic_write(output) as file:
        to_image(sheet).save(file, "png", optimize=True)
    log.info(f"Wrote {output}.")
