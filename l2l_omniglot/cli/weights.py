"""Options that say whose weights adapt to a person's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot.cli import names
from l2l_omniglot.cli.names import one_of
from l2l_omniglot.cli.options import options
from l2l_omniglot.cli.sources import stronger
from l2l_omniglot.messages import say

if TYPE_CHECKING:
    from l2l_omniglot.checkpoint import Checkpoint

weights_options = options(
    click.option("--run", type=click.Path(path_type=Path), default=None,
                 help="Run folder or checkpoint file (pretrained weights instead)."),
    click.option("--pretrained", default=None, shell_complete=one_of(names.pretrained),
                 help="Weights that come along, see `l2l-omniglot pretrained` (those trained for "
                 "about as many classes)."),
    click.option("--steps", type=click.IntRange(min=0), default=None,
                 help="Gradient steps on the support set (as trained)."),
)  # fmt: skip


def one_source(run: Path | None, pretrained: str | None) -> tuple[Path | None, str | None]:
    """Of two sources of weights the one that was given in the stronger place.

    Raises:
        click.UsageError: if both are given in the same place.
    """
    if run is None or pretrained is None:
        return run, pretrained
    which = stronger("run", "pretrained")
    if which is None:
        raise click.UsageError(f"--run {run} and --pretrained {pretrained}: needed only one")
    return (run, None) if which == "run" else (None, pretrained)


def load_weights(run: Path | None, pretrained: str | None, ways: int) -> Checkpoint:
    """The weights asked for, else those that come along for about as many classes.

    Says so where they were trained for another number of classes.
    """
    run, pretrained = one_source(run, pretrained)
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
