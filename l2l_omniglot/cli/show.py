"""``l2l-omniglot show``."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command, Group
from l2l_omniglot.cli.console import log
from l2l_omniglot.data import ALL, PARTS
from l2l_omniglot.errors import DataError
from l2l_omniglot.experiments.settings import Settings, make_settings
from l2l_omniglot.experiments.weights import find_weights

if TYPE_CHECKING:
    from l2l_omniglot.data.stack import Stack
    from l2l_omniglot.reports.contact_sheet import ContactSheet

data_options = options.settings_options(
    "data",
    "background",
    "split",
    "split_seed",
    "validation_classes",
    "test_classes",
)
out_option = click.option("--out", type=options.OutputPath(".png"), default=None,
                             help="PNG file to write (the terminal).")  # fmt: skip


@click.group(cls=Group, short_help="Show characters or a task as a picture.")
def show() -> None:
    """Show characters of a data set, or a task, as a PNG file or on the terminal."""


@show.command(cls=Command)
@click.option("--part", type=options.Name(PARTS), default=ALL,
              show_default=True, help="Part of the split to choose classes from.")  # fmt: skip
@click.option("--classes", type=click.IntRange(1, 10_000), default=20, show_default=True,
              help="Number of classes, spread evenly over the part.")  # fmt: skip
@click.option("--class", multiple=True, metavar="NAME",
              help="Only classes with NAME in their name; may be repeated (none).")  # fmt: skip
@click.option("--items", type=click.IntRange(1, 10_000), default=10, show_default=True,
              help="Images per class.")  # fmt: skip
@data_options
@out_option
def data(part: str, classes: int, items: int, out: Path | None, **given: Any) -> None:
    """Show images of some classes."""
    names: tuple[str, ...] = given.pop("class")
    settings = make_settings(**options.absolute(given))
    stack = options.open_stack(settings)
    from l2l_omniglot.experiments.experiment import settings_splits
    from l2l_omniglot.reports.contact_sheet import class_sheet

    numbers = list(range(len(stack.info)))
    if part != ALL:
        numbers = list(getattr(settings_splits(settings, stack), part))
    if names:
        numbers = _named(stack, numbers, names)
        chosen = numbers[:classes]
    else:
        count = min(classes, len(numbers))
        chosen = [numbers[place * len(numbers) // count] for place in range(count)]
    title = f"{Path(stack.name).stem}, {part}: {len(chosen)} of {len(numbers)} classes"
    _write(class_sheet(stack, chosen, items, title), out)


@show.command(cls=Command, short_help="Show one task.")
@click.argument("number", type=click.IntRange(0, 10**12))
@options.weights_option("none: settings of a recipe")
@options.part_option
@options.settings_options("ways", "shots", "queries")
@click.option("--seed", type=int, default=None,
              help="Seed for the tasks (0; for parts train and validation the run's).")  # fmt: skip
@options.alphabet_option
@options.settings_options("recipe", "rotations", "mirrors")
@data_options
@out_option
def task(
    number: int,
    weights: str | None,
    part: str,
    seed: int | None,
    within_alphabet: bool,
    out: Path | None,
    **given: Any,
) -> None:
    """Show task NUMBER of a part, the same that `train` and `evaluate` use.

    With meta-batches of 8, iteration t of a training uses tasks 8t to 8t + 7 of part train. Each
    validation uses tasks 0, 1, ... of part validation, `evaluate` those of part test.
    """
    settings = _settings(weights, options.absolute(given))
    stack = options.open_stack(settings)
    from l2l_omniglot.experiments.experiment import TaskStreams
    from l2l_omniglot.reports.contact_sheet import task_sheet

    default_seed = 0 if part in ("test", ALL) else settings.seed  # that of `evaluate`
    tasks = TaskStreams(settings, stack).tasks(
        part, seed=default_seed if seed is None else seed, within_alphabet=within_alphabet
    )
    _write(task_sheet(tasks, number), out)


def _settings(weights: str | None, given: dict[str, Any]) -> Settings:
    """Returns those of trained weights, with what is given changed; or a recipe's."""
    if weights is None:
        return make_settings(**given)
    if "recipe" in given:
        raise click.UsageError(
            f"--weights {weights} and --recipe {given['recipe']}: expected only one"
        )
    if "queries" in given:
        given["train_queries"] = given["queries"]
    return dataclasses.replace(find_weights(weights).settings, **given)


def _named(stack: Stack, numbers: list[int], names: tuple[str, ...]) -> list[int]:
    """Returns the classes of those names; where there is none, those with it in their name."""
    matches: list[int] = []
    for name in names:
        exact = [number for number in numbers if stack.names[number] == name]
        like = [number for number in numbers if name.lower() in stack.names[number].lower()]
        if not like:
            raise DataError(
                f"--class {name!r}: no class here has that in its name; expected one such as "
                f"{stack.names[numbers[0]]!r}"
            )
        matches += exact or like
    return list(dict.fromkeys(matches))


def _write(sheet: ContactSheet, out: Path | None) -> None:
    """Writes a sheet to the file, or to stdout."""
    if out is None:
        from l2l_omniglot.reports.terminal import check_encoding, to_text

        encoding = sys.stdout.encoding or "ascii"
        check_encoding(encoding)
        text = to_text(sheet, shutil.get_terminal_size().columns)
        click.echo(text.encode(encoding, "replace").decode(encoding))
        return
    from l2l_omniglot.reports.contact_sheet import write_sheet

    write_sheet(sheet, out)
    log.info(f"Wrote {out}.")
