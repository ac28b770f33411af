"""``l2l-omniglot predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.text import shown
from l2l_omniglot.backbones import BATCH_NORMS
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import log
from l2l_omniglot.cli.options import (
    F,
    Name,
    OutputPath,
    device_option,
    json_option,
    load_weights,
    options,
    steps_option,
    weights_option,
)
from l2l_omniglot.errors import SkippedError

if TYPE_CHECKING:
    from l2l_omniglot.data.picture_folders import Collection

adapting_options = options(
    weights_option("pretrained weights for about as many classes"),
    steps_option(),
)
picture_options = options(
    click.option("--picture-ink", type=Name(["auto", "dark", "light"]), default="auto",
                 show_default=True,
                 help="Ink in the pictures; auto: what there is little of, else what the border is "
                      "not."),
    click.option("--fit", type=Name(["auto", "always", "never"]), default="auto",
                 show_default=True,
                 help="Centre and scale as Omniglot's drawings are; auto: unless they are. Both "
                      "stretch the grey values."),
)  # fmt: skip


def support_argument(function: F) -> F:
    """SUPPORT, a folder."""
    return click.argument("support", type=click.Path(path_type=Path))(function)


@click.command(cls=Command, short_help="Classify your own pictures.")
@support_argument
@click.argument("queries", metavar="QUERY...", type=click.Path(path_type=Path), nargs=-1,
                required=True)  # fmt: skip
@adapting_options
@click.option("--batch-norm", type=Name(BATCH_NORMS), default="inductive",
              show_default=True,
              help="Each picture by the support set alone, or all pictures together.")  # fmt: skip
@picture_options
@device_option("cpu")
@json_option
@click.option("--csv", is_flag=True,
              help="Print a line a picture, a column a class.")  # fmt: skip
@click.option("--output", type=OutputPath(), default=None,
              help="Write what would be printed to this file (none).")  # fmt: skip
def predict(
    support: Path,
    queries: tuple[Path, ...],
    weights: str | None,
    steps: int | None,
    device: str,
    batch_norm: str,
    picture_ink: str,
    fit: str,
    json: bool,
    csv: bool,
    output: Path | None,
) -> None:
    """Classify your own pictures, from a few examples of each class.

    SUPPORT is a folder with one sub-folder a class, of one picture or more each. QUERY are
    pictures, or folders of them; in a sub-folder that has a class's name, each picture counts as
    one of that class, and the accuracy is told. PNG, JPEG, GIF, TIFF, BMP and
    WebP, of any size.
    """
    if json and csv:
        raise click.UsageError("--json and --csv: expected one of them")
    from l2l_omniglot.data.picture_folders import read_queries, read_support

    # Pictures first: a wrong folder is told before torch is imported.
    examples = read_support(support, picture_ink)
    asked = read_queries(queries, examples.names, picture_ink)
    from l2l_omniglot.classify import predictor
    from l2l_omniglot.classify.predictions import FORMS

    checkpoint = load_weights(weights, len(examples.names))
    found = predictor.predict(
        checkpoint, examples, asked, steps=steps, batch_norm=batch_norm, fit=fit, device=device
    )
    text = FORMS["json" if json else "csv" if csv else "table"](found)
    if output is None:
        click.echo(text)
    else:
        write_text(output, text + "\n")
        log.info(f"Wrote {output}.")
    name_left(examples, asked)
    refuse_skipped(examples, asked)


def name_left(*collections: Collection) -> None:
    """Says which files were not taken for pictures, if any."""
    left = [shown(path) for found in collections for path in found.left]
    if left:
        log.info(f"Note: left alone, for they are not called as pictures are: {', '.join(left)}")


def refuse_skipped(*collections: Collection) -> None:
    """Names the pictures that were left out, if any.

    Raises:
        SkippedError: if any were.
    """
    skipped = [sentence for found in collections for sentence in found.skipped]
    if skipped:
        every = len(skipped) + sum(len(found.files) for found in collections)
        raise SkippedError(
            f"{len(skipped)} of {every} pictures skipped, the support's counted: "
            + "; ".join(skipped)
        )
