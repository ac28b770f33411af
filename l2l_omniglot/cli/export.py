"""``l2l-omniglot export``."""

from __future__ import annotations

from pathlib import Path

import click

from l2l_omniglot.cli.options import OutputPath
from l2l_omniglot.cli.predict import (
    name_left,
    picture_options,
    refuse_skipped,
    support_argument,
)
from l2l_omniglot.cli.weights import load_weights, one_source, weights_options


@click.command(short_help="Write a network adapted to your pictures.")
@support_argument
@click.option(
    "--output",
    "path",
    type=OutputPath(),
    required=True,
    help="File to write: .onnx, or .pt2 for torch.export.load (required).",
)
@click.option(
    "--returns",
    type=click.Choice(["probabilities", "logits"]),
    default="probabilities",
    show_default=True,
    help="What the exported network gives.",
)
@weights_options
@picture_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")  # fmt: skip
def export(
    support: Path,
    path: Path,
    returns: str,
    run: Path | None,
    pretrained: str | None,
    steps: int | None,
    picture_ink: str,
    how: str,
    as_json: bool,
) -> None:
    """Adapt a network to the pictures in SUPPORT and write it as ONNX or PyTorch archive.

    SUPPORT has one folder of pictures for each class, named as it. The file classifies
    any number of images by itself, without this package; class names and what is to be done to
    a picture first stand in its metadata. It is compared with the original before it is kept.
    """
    one_source(run, pretrained)
    from l2l_omniglot.picture_folders import read_support

    examples = read_support(support, picture_ink)
    from l2l_omniglot.export import check_export, export_classifier
    from l2l_omniglot.predictor import adapt_to_pictures

    check_export(path)
    checkpoint = load_weights(run, pretrained, len(examples.names))
    classifier, preparation = adapt_to_pictures(checkpoint, examples, steps=steps, fit=how)
    exported = export_classifier(
        classifier, path, examples.names, ink=checkpoint.settings.ink,
        fitted=preparation.fitted, stretched=preparation.stretched, output=returns,
        about={"weights": Path(checkpoint.source).name, "steps": classifier.steps},
    )  # fmt: skip
    if as_json:
        import json

        about = {"path": str(path), "difference": exported.difference, "images": exported.images}
        click.echo(json.dumps({**about, **exported.metadata}))
    else:
        names = examples.names
        click.echo(
            f"{path}: {returns} of {len(names)} classes ({', '.join(names)})\n"
            f"Differs from the original by at most {exported.difference:.1e}, on "
            f"{exported.images} images."
        )
    name_left(examples)
    refuse_skipped(examples)
