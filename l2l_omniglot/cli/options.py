"""Options that several commands have."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from l2l_omniglot.choices import DEVICES, ENGINES

F = TypeVar("F", bound=Callable[..., Any])


def options(*each: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of ``--help``."""

    def apply(function: F) -> F:
        for option in reversed(each):
            function = option(function)
        return function

    return apply


class _Minutes(click.FloatRange):
    """Above 0; click's own range lets NaN through."""

    name = "minutes"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> float:
        number: float = super().convert(value, parameter, context)
        if math.isnan(number):
            self.fail(f"{value}: needed a number of minutes above 0", parameter, context)
        return number


class OutputPath(click.Path):
    """A path to write to; one that cannot be is refused at once, not after the work."""

    def __init__(self, folder: bool = False) -> None:
        super().__init__(file_okay=not folder, dir_okay=folder, path_type=Path)

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Path:
        """The path; wrong usage where it cannot be written to."""
        path = Path(str(super().convert(value, parameter, context)))
        try:
            problem = "needed a path" if value == "" else self._problem(path)
        except (OSError, RuntimeError) as error:  # a folder that may not be read, a loop of links
            problem = getattr(error, "strerror", None) or str(error)
        if problem:
            self.fail(f"'{value}': {problem}", parameter, context)
        return path

    def _problem(self, path: Path) -> str:
        """Why it cannot be written to; empty where it can."""
        if path.exists() and not path.is_file() and not path.is_dir():  # such as /dev/stdout
            return "" if os.access(path, os.W_OK) else "may not be written to"
        target = path.resolve()
        places = [target, *target.parents] if self.dir_okay else [*target.parents]
        target.exists()  # says so where the name is too long
        there = next(place for place in places if place.exists())
        if not there.is_dir():
            return f"{there} is a file; needed a folder"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"the folder {there} may not be written to"
        return ""


MINUTES = _Minutes(min=0, min_open=True)


def absolute(given: dict[str, Any]) -> dict[str, Any]:
    """Paths made absolute, so that a saved run finds its data from anywhere."""
    paths = {
        name: str(Path(given[name]).resolve())
        for name, ending in (("data", ".npy"), ("split", ".json"))
        if given.get(name) and given[name].endswith(ending)
    }
    if given.get("start_from") and Path(given["start_from"]).exists():
        paths["start_from"] = str(Path(given["start_from"]).resolve())
    return {**given, **paths}


computing_options = options(
    click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True,
                 help="Where to compute."),
    click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
                 help="How to compute: task by task, or stacked."),
    click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Worker processes on this machine; see also torchrun in docs/scaling.md."),
)  # fmt: skip
