"""``l2l-omniglot export``."""

from __future__ import annotations

from pathlib import Path

import click

from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.options import Name, OutputPath, json_option, load_weights
from l2l_omniglot.cli.predict import (
    adapting_options,
    name_left,
    picture_options,
    refuse_skipped,
    support_argument,
)


@click.command(cls=Command, short_help="Write a network adapted to your pictures.")
@support_argument
@click.option(
    "--output",
    type=OutputPath(),
    required=True,
    help="File to write: .onnx, or .pt2 for torch.export.load (required).",
)
@click.option(
    "--returns",
    type=Name(["probabilities", "logits"]),
    default="probabilities",
    show_default=True,
    help="What the exported network gives.",
)
@adapting_options
@picture_options
@json_option
def export(
    support: Path,
    output: Path,
    returns: str,
    weights: str | None,
    steps: int | None,
    picture_ink: str,
    fit: str,
    json: bool,
) -> None:
    """Adapt a network to the pictures in SUPPORT and write it as ONNX or PyTorch archive.

    SUPPORT has one folder of pictures for each class, named as it. The file classifies
    any number of images by itself, without this package; class names and what is to be done to
    a picture first stand in its metadata. It is compared with the original before it is kept.
    """
    from l2l_omniglot.data.picture_folders import read_support

    examples = read_support(support, picture_ink)
    from l2l_omniglot.classify.export import check_export, export_classifier
    from l2l_omniglot.classify.predictor import adapt_to_pictures

    check_export(output)
    checkpoint = load_weights(weights, len(examples.names))
    classifier, preparation = adapt_to_pictures(checkpoint, examples, steps=steps, fit=fit)
    exported = export_classifier(
        classifier, output, examples.names, ink=checkpoint.settings.ink,
        fitted=preparation.fitted, stretched=preparation.stretched, output=returns,
        about={"weights": Path(checkpoint.source).name, "steps": classifier.steps},
    )  # fmt: skip
    if json:
        from json import dumps

        about = {"path": str(output), "difference": exported.difference, "images": exported.images}
        click.echo(dumps({**about, **exported.metadata}))
    else:
        names = examples.names
        click.echo(
            f"{output}: {returns} of {len(names)} classes ({', '.join(names)})\n"
            f"Differs from the original by at most {exported.difference:.1e}, on "
            f"{exported.images} images."
        )
    name_left(examples)
    refuse_skipped(examples)
