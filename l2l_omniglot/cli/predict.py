"""``l2l-omniglot predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot.choices import BATCH_NORMS, DEVICES
from l2l_omniglot.cli.options import F, OutputPath, options
from l2l_omniglot.cli.weights import load_weights, one_source, weights_options
from l2l_omniglot.errors import SkippedError
from l2l_omniglot.files import shown, write_text
from l2l_omniglot.messages import say

if TYPE_CHECKING:
    from l2l_omniglot.folders import Collection

picture_options = options(
    click.option("--picture-ink", type=click.Choice(["auto", "dark", "light"]), default="auto",
                 show_default=True,
                 help="Ink in the pictures; auto: what there is little of, else what the border is "
                      "not."),
    click.option("--fit", "how", type=click.Choice(["auto", "always", "never"]), default="auto",
                 show_default=True,
                 help="Centre and scale as Omniglot's drawings are; auto: unless they are. Both "
                      "stretch the grey values."),
)  # fmt: skip


def support_argument(function: F) -> F:
    """SUPPORT, a folder."""
    return click.argument("support", type=click.Path(path_type=Path))(function)


@click.command(short_help="Classify your own pictures.")
@support_argument
@click.argument("queries", metavar="QUERY...", type=click.Path(path_type=Path), nargs=-1,
                required=True)  # fmt: skip
@weights_options
@click.option("--batch-norm", type=click.Choice(BATCH_NORMS), default="inductive",
              show_default=True,
              help="Each picture by the support set alone, or all pictures together.")  # fmt: skip
@picture_options
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True,
              help="Where to compute.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True,
              help="Print a line a picture, a column a class.")  # fmt: skip
@click.option("--output", type=OutputPath(), default=None,
              help="Write what would be printed to this file (none).")  # fmt: skip
def predict(
    support: Path,
    queries: tuple[Path, ...],
    run: Path | None,
    pretrained: str | None,
    steps: int | None,
    device: str,
    batch_norm: str,
    picture_ink: str,
    how: str,
    as_json: bool,
    as_csv: bool,
    output: Path | None,
) -> None:
    """Classify your own pictures, from a few examples of each class.

    SUPPORT is a folder with one sub-folder a class, of one picture or more each. QUERY are
    pictures, or folders of them; in a sub-folder that has a class's name, each picture counts as
    one of that class, and the accuracy is told. PNG, JPEG, GIF, TIFF, BMP and
    WebP, of any size.
    """
    one_source(run, pretrained)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: needed one of them")
    from l2l_omniglot.folders import read_queries, read_support

    # Pictures first: a wrong folder is told before torch is imported.
    examples = read_support(support, picture_ink)
    asked = read_queries(queries, examples.names, picture_ink)
    from l2l_omniglot import predictor
    from l2l_omniglot.predictions import FORMS

    checkpoint = load_weights(run, pretrained, len(examples.names))
    found = predictor.predict(
        checkpoint, examples, asked, steps=steps, batch_norm=batch_norm, how=how, device=device
    )
    text = FORMS["json" if as_json else "csv" if as_csv else "table"](found)
    if output is None:
        click.echo(text)
    else:
        write_text(output, text + "\n")
        say(f"Wrote {output}.")
    name_left(examples, asked)
    refuse_skipped(examples, asked)


def name_left(*collections: Collection) -> None:
    """Says which files were not taken for pictures, if any."""
    left = [shown(path) for found in collections for path in found.left]
    if left:
        say(f"Note: left alone, for they are not called as pictures are: {', '.join(left)}")


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
