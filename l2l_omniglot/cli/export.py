"""``l2l-omniglot export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from l2l_omniglot.checkpoint import Checkpoint
    from l2l_omniglot.classifier import Classifier


@dataclass(frozen=True)
class Options:
    """What the command line asks for, of the classifier."""

    run: Path | None
    pretrained: str | None
    steps: int | None
    picture_ink: str
    fit: str


@click.command()
@click.argument("support", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .onnx, or .pt2 for torch.export.load.",
)
@click.option(
    "--returns",
    type=click.Choice(["probabilities", "logits"]),
    default="probabilities",
    show_default=True,
    help="What the exported network gives.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    default=None,
    help="Run folder or checkpoint file (the newest run's best).",
)
@click.option(
    "--pretrained",
    default=None,
    help="Weights that come along instead, see `l2l-omniglot pretrained`.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=None,
    help="Gradient steps on the support set (as trained).",
)
@click.option(
    "--picture-ink",
    type=click.Choice(["auto", "dark", "light"]),
    default="auto",
    show_default=True,
    help="Which end of the pictures' grey values is ink.",
)
@click.option(
    "--fit",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Centre the ink and bring it to the size of Omniglot's; auto: where it is not.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(support: Path, path: Path, returns: str, as_json: bool, **given: Any) -> None:
    """Adapt a network to the pictures in SUPPORT and write it as ONNX or PyTorch archive.

    SUPPORT has one folder of pictures for each class, named as it. The file classifies
    any number of images by itself, without this package; class names and what is to be done to
    a picture first stand in its metadata. It is compared with the original before it is kept.
    """
    from l2l_omniglot.export import check_export, export_classifier

    check_export(path)
    adapted = _classifier(support, Options(**given))
    exported = export_classifier(
        adapted.classifier, path, adapted.names, ink=adapted.ink, fitted=adapted.fitted,
        output=returns, about={"weights": adapted.weights, "steps": adapted.classifier.steps},
    )  # fmt: skip
    if as_json:
        import json

        about = {"path": str(path), "difference": exported.difference, "images": exported.images}
        click.echo(json.dumps({**about, **exported.metadata}))
        return
    click.echo(
        f"{path}: {returns} of {len(adapted.names)} classes ({', '.join(adapted.names)})\n"
        f"Differs from the original by at most {exported.difference:.1e}, on {exported.images} "
        "images."
    )


@dataclass(frozen=True)
class _Adapted:
    """A classifier, and what its metadata tells."""

    classifier: Classifier
    names: list[str]
    ink: str
    fitted: bool
    weights: str


def _classifier(support_folder: Path, options: Options) -> _Adapted:
    """The network adapted to a folder with one sub-folder of pictures a class."""
    import torch

    from l2l_omniglot.classifier import Classifier
    from l2l_omniglot.errors import DataError
    from l2l_omniglot.pictures import SUFFIXES, fit, like_omniglot, read_picture, to_images

    checkpoint = _checkpoint(options)
    folders = sorted(path for path in support_folder.glob("*") if path.is_dir())
    if len(folders) < 2:
        raise DataError(
            f"{support_folder}: has {len(folders)} folders; needed one a class, 2 or more"
        )
    pictures, labels = [], []
    for label, folder in enumerate(folders):
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(
                f"{folder}: has no picture; needed one or more of {', '.join(SUFFIXES)}"
            )
        pictures += [read_picture(path, options.picture_ink) for path in found]
        labels += [label] * len(found)
    fitted = options.fit == "always" or (options.fit == "auto" and not like_omniglot(pictures))
    if fitted:
        pictures = [fit(picture) for picture in pictures]
    ink = checkpoint.settings.ink
    images = to_images(pictures, checkpoint.facts["image_size"], ink)
    classifier = Classifier(
        checkpoint, images, torch.tensor(labels), len(folders), options.steps
    )  # fmt: skip
    return _Adapted(classifier, [f.name for f in folders], ink, fitted, _weights(options))


def _checkpoint(options: Options) -> Checkpoint:
    from l2l_omniglot.checkpoint import load_checkpoint
    from l2l_omniglot.pretrained import load_pretrained_checkpoint
    from l2l_omniglot.run import resolve_checkpoint

    if options.run is not None and options.pretrained is not None:
        raise click.UsageError(
            f"--run {options.run} and --pretrained {options.pretrained}: needed only one"
        )
    if options.pretrained is not None:
        return load_pretrained_checkpoint(options.pretrained)
    return load_checkpoint(resolve_checkpoint(options.run))


def _weights(options: Options) -> str:
    return options.pretrained or ("newest run" if options.run is None else str(options.run))
