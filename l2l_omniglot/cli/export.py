"""``l2l-omniglot export``."""

from __future__ import annotations

from json import dumps
from pathlib import Path

import click

from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import say
from l2l_omniglot.cli.predict import (
    adapting_options,
    note_unread,
    picture_options,
    support_argument,
)
from l2l_omniglot.experiments.weights import weights_name


@click.command(cls=Command, short_help="Write a network adapted to your pictures.")
@support_argument
@click.option("--out", type=options.OutputPath(), required=True,
              help="File to write: .onnx, or .pt2 for torch.export.load.")  # fmt: skip
@click.option("--returns", type=options.Name(["probabilities", "logits"]), default="probabilities",
              show_default=True, help="Output of the exported network.")  # fmt: skip
@adapting_options
@picture_options
@options.json_option
def export(
    support: Path,
    out: Path,
    returns: str,
    weights: str | None,
    steps: int | None,
    picture_ink: str,
    redraw: str,
    json: bool,
) -> None:
    """Adapt a network to the pictures in SUPPORT and write it as ONNX or PyTorch archive.

    SUPPORT has one sub-folder per class, named after it. The exported file classifies any number
    of images without this package. It is checked against the original network before it is kept.
    A script beside it, NAME_pictures.py, prepares pictures for it and classifies them.
    """
    from l2l_omniglot.data.picture_folders import read_support

    given = options.Weights(weights)
    examples = read_support(support, picture_ink, given.pictures)
    from l2l_omniglot.classify.companion import companion_path, write_companion
    from l2l_omniglot.classify.export import check_export, export_classifier
    from l2l_omniglot.classify.predictor import adapt_to_pictures

    check_export(out)
    companion_path(out)
    names = examples.names
    checkpoint = given.load(len(names))
    classifier, preparation = adapt_to_pictures(checkpoint, examples, steps=steps, redraw=redraw)
    exported = export_classifier(
        classifier, out, names, ink=checkpoint.settings.ink,
        redraw=preparation.redraw, pictures=preparation.kind, output=returns,
        about={"weights": weights_name(checkpoint.source), "steps": classifier.steps},
    )  # fmt: skip
    script = write_companion(out, preparation, picture_ink)
    if json:
        about = {
            "path": str(out),
            "script": str(script),
            "difference": exported.difference,
            "images": exported.images,
        }
        click.echo(dumps({**about, **exported.metadata}))
    else:
        say(
            f"{out}: {returns} of {len(names)} classes ({', '.join(names)})\n"
            f"Differs from the original by at most {exported.difference:.1e}, on "
            f"{exported.images} images.\n"
            f"{script}: prepares pictures for it, and classifies them."
        )
    note_unread(examples)
