"""Few-shot classification of your own pictures, from folders to labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from scipy.special import betaincinv

from l2l_omniglot._util.text import csv_text, encodable, finite, percent, shown, table
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.data.pictures import FITS, centre_and_scale, is_centred, stretch, to_images
from l2l_omniglot.errors import DataError, check_choice
from l2l_omniglot.experiments.checkpoint import Checkpoint


@dataclass(frozen=True)
class Prediction:
    """The prediction for one picture.

    Attributes:
        file: of the picture.
        probabilities: by class, in [0, 1], summing to 1.
        truth: the true class, if it is known.
    """

    file: Path
    probabilities: dict[str, float]
    truth: str | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def probability(self) -> float:
        """The probability of that class."""
        return self.probabilities[self.label]


@dataclass(frozen=True)
class Predictions:
    """The predictions for all pictures.

    Attributes:
        entries: in the order of the pictures.
        names: of the classes.
        steps: gradient steps on the support set.
        batch_norm: ``inductive`` or ``transductive``.
        fitted: whether the pictures were centred and scaled.
    """

    entries: list[Prediction]
    names: list[str]
    steps: int
    batch_norm: str
    fitted: bool

    @property
    def known(self) -> int:
        """The number of pictures whose class is known."""
        return sum(entry.truth is not None for entry in self.entries)

    @property
    def correct(self) -> int:
        """The number of those that are predicted correctly."""
        return sum(entry.truth == entry.label for entry in self.entries)

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval over pictures, in [0, 1] (Clopper and Pearson 1934)."""
        right, wrong = self.correct, self.known - self.correct
        low = betaincinv(right, wrong + 1, 0.025) if right else 0.0
        high = betaincinv(right + 1, wrong, 0.975) if wrong else 1.0
        return float(low), float(high)


def predictions_table(found: Predictions) -> str:
    """Formats one row per picture, and the accuracy if classes are known."""
    header = ["picture", "class", "probability"] + (["truth"] if found.known else [])
    rows = []
    for entry in found.entries:
        rows.append([shown(entry.file), shown(entry.label), percent(entry.probability)])
        if found.known:
            mark = " (wrong)" if entry.truth not in {None, entry.label} else ""
            rows[-1].append(shown(entry.truth or "") + mark)
    parts = [table(header, rows)]
    if found.known:
        low, high = found.interval
        parts.append(
            f"{found.correct} of {found.known} correct: {percent(found.correct / found.known)} "
            f"(95 % interval {percent(low)} to {percent(high)}, {found.batch_norm} batch norm)"
        )
    if found.fitted:
        parts.append("The pictures were centred and scaled as Omniglot's drawings are.")
    return "\n\n".join(parts)


def predictions_json(found: Predictions) -> str:
    """Formats one JSON object; probabilities in [0, 1]."""
    entries = [
        {
            "picture": str(entry.file), "class": entry.label, "probability": entry.probability,
            "probabilities": entry.probabilities, "truth": entry.truth,
        }
        for entry in found.entries
    ]  # fmt: skip
    known = found.known or None
    body = {
        "classes": found.names, "steps": found.steps, "batch_norm": found.batch_norm,
        "fitted": found.fitted,
        "accuracy": known and found.correct / known,
        "interval95": known and list(found.interval),
        "predictions": entries,
    }  # fmt: skip
    return json.dumps(finite(body), allow_nan=False)


def predictions_csv(found: Predictions) -> str:
    """Formats one line per picture, with one column per class: its probability in [0, 1]."""
    columns = {name: f"p({encodable(name)})" for name in found.names}
    rows: list[dict[str, object]] = [
        {"picture": encodable(entry.file), "class": encodable(entry.label)}
        | {"truth": encodable(entry.truth or "")}
        | {columns[name]: value for name, value in entry.probabilities.items()}
        for entry in found.entries
    ]
    return csv_text(list(rows[0]), rows).rstrip("\n")


FORMS = {"table": predictions_table, "json": predictions_json, "csv": predictions_csv}


@dataclass(frozen=True)
class Preparation:
    """The preparation of pictures as images for the network, the same for support and queries.

    Attributes:
        fitted: whether pictures are centred and scaled.
        stretched: whether their grey values are stretched.
        size: of the images, pixels per side.
        channels: of the images.
        ink: of the images, ``white`` (1) or ``black`` (0).
    """

    fitted: bool
    stretched: bool
    size: int
    channels: int
    ink: str

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, support: Sequence[Image.Image], fit: str = "auto"
    ) -> Preparation:
        """Chooses the preparation.

        Args:
            checkpoint: of the network; gives size, channels and ink.
            support: the support pictures, which decide for all.
            fit: ``always``: stretch the grey values, and centre and scale as Omniglot's drawings
                are; ``auto``: stretch, and do the rest unless the support pictures are so already;
                ``never``: leave pictures as they are.

        Raises:
            DataError: if the network was not trained on square images.
        """
        check_choice("fit", fit, FITS)
        size = checkpoint.image_size
        if not isinstance(size, int):
            raise DataError(f"{checkpoint.source}: trained on images of {size}; expected square")
        fitted = fit == "always" or (fit == "auto" and not is_centred(support))
        return cls(fitted, fit != "never", size, checkpoint.channels, checkpoint.settings.ink)

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Turns B pictures into images, float32 (B, channels, size, size) in [0, 1]."""
        if self.stretched:
            prepare = centre_and_scale if self.fitted else stretch
            pictures = [prepare(picture) for picture in pictures]
        images = to_images(pictures, self.size, self.ink)
        return images.expand(-1, self.channels, -1, -1)


def adapt_to_pictures(
    checkpoint: Checkpoint,
    support: Collection,
    *,
    steps: int | None = None,
    batch_norm: str = "inductive",
    fit: str = "auto",
    device: str = "cpu",
) -> tuple[Classifier, Preparation]:
    """Adapts a classifier to support pictures; returns it with the preparation for its queries.

    `steps`, `batch_norm` and `device` are those of `Classifier`, `fit` that of `Preparation`.
    """
    preparation = Preparation.of(checkpoint, support.pictures, fit)
    names = support.names
    labels = torch.tensor([names.index(name) for name in support.classes if name is not None])
    images = preparation.images(support.pictures)
    classifier = Classifier(checkpoint, images, labels, len(names), steps, batch_norm, device)
    return classifier, preparation


def predict(
    checkpoint: Checkpoint,
    support: Collection,
    queries: Collection,
    *,
    steps: int | None = None,
    batch_norm: str = "inductive",
    fit: str = "auto",
    device: str = "cpu",
) -> Predictions:
    """Classifies pictures from a few examples of each class; see `adapt_to_pictures`."""
    classifier, preparation = adapt_to_pictures(
        checkpoint, support, steps=steps, batch_norm=batch_norm, fit=fit, device=device
    )
    names = support.names
    rows = classifier.probabilities(preparation.images(queries.pictures)).tolist()
    entries = [
        Prediction(file, dict(zip(names, row, strict=True)), truth)
        for file, row, truth in zip(queries.files, rows, queries.classes, strict=True)
    ]
    return Predictions(entries, names, classifier.steps, classifier.batch_norm, preparation.fitted)
