"""Options that say whose weights adapt to a person's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot.cli.options import options
from l2l_omniglot.progress import say

if TYPE_CHECKING:
    from l2l_omniglot.checkpoint import Checkpoint

weights_options = options(
    click.option("--run", type=click.Path(path_type=Path), default=None,
                 help="Run folder or checkpoint file (pretrained weights instead)."),
    click.option("--pretrained", default=None,
                 help="Weights that come along, see `l2l-omniglot pretrained` (those trained for "
                 "about as many classes)."),
    click.option("--steps", type=click.IntRange(min=0), default=None,
                 help="Gradient steps on the support set (as trained)."),
)  # fmt: skip


def one_source(run: Path | None, pretrained: str | None) -> None:
    """Refuses two sources of weights.

    Raises:
        click.UsageError: if both are given.
    """
    if run is not None and pretrained is not None:
        raise click.UsageError(f"--run {run} and --pretrained {pretrained}: needed only one")


def load_weights(run: Path | None, pretrained: str | None, ways: int) -> Checkpoint:
    """The weights asked for, else those that come along for about as many classes.

    Says so where they were trained for another number of classes.
    """
    one_source(run, pretrained)
    from l2l_omniglot.checkpoint import load_checkpoint
    from l2l_omniglot.pretrained import load_pretrained_checkpoint
    from l2l_omniglot.run import resolve_checkpoint
    from l2l_omniglot.transfer import weights_for

    if run is not None:
        name, checkpoint = str(run), load_checkpoint(resolve_checkpoint(run))
    else:
        name = pretrained or weights_for(ways)
        checkpoint = load_pretrained_checkpoint(name)
    trained = checkpoint.settings.ways
    if trained != ways:
        say(
            f"Note: {ways} classes; {name} was trained for {trained}, so its head was built anew "
            "from the mean of the trained one."
        )
    return checkpoint
