"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from l2l_omniglot.recipes import DEVICES, ENGINES

F = TypeVar("F", bound=Callable[..., Any])


def options(*each: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of ``--help``."""

    def apply(function: F) -> F:
        for option in reversed(each):
            function = option(function)
        return function

    return apply


computing_options = options(
    click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True,
                 help="Where to compute."),
    click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
                 help="How to compute: task by task, or stacked."),
    click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Worker processes on this machine; see also torchrun in docs/scaling.md."),
)  # fmt: skip
