"""Few-shot classification of your own pictures, from folders to labels."""

from __future__ import annotations

import torch

from l2l_omniglot.classify.classifier import UNSURE, Classifier, certainty_after
from l2l_omniglot.classify.predictions import NONE_OF_THESE, Prediction, Predictions
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.data.pictures import Look
from l2l_omniglot.errors import refused
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.weights import weights_name


def adapt_to_pictures(
    checkpoint: Checkpoint,
    support: Collection,
    *,
    steps: int | None = None,
    batch_norm: str = "inductive",
    redraw: str = "auto",
    device: str = "cpu",
) -> tuple[Classifier, Preparation]:
    """Adapts a classifier to support pictures; returns it with the preparation for its queries.

    `steps`, `batch_norm` and `device` are those of `Classifier`, `redraw` that of `Preparation`.
    """
    preparation = Preparation.of(checkpoint, redraw)
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
    redraw: str = "auto",
    device: str = "cpu",
    reject: bool = False,
) -> Predictions:
    """Classifies pictures from a few examples of each class; see `adapt_to_pictures`.

    With `reject`, what seems to be of no class is predicted as `NONE_OF_THESE`.

    Raises:
        SettingsError: if it is to be rejected, and how sure the weights are was not measured, or a
            class has that name.
    """
    if reject and NONE_OF_THESE in support.names:
        reason = f"a class is called {NONE_OF_THESE!r}; expected another name"
        raise refused("reject", reject, reason)
    if reject and certainty_after(checkpoint, steps) is None:
        raise refused("reject", reject, f"{checkpoint.source} {UNSURE}")
    classifier, preparation = adapt_to_pictures(
        checkpoint, support, steps=steps, batch_norm=batch_norm, redraw=redraw, device=device
    )
    images = preparation.images(queries.pictures)
    rows = classifier.probabilities(images).tolist()
    unlikes = classifier.none_of_these(images).tolist()
    names = support.names
    entries = [
        Prediction(
            file, dict(zip(names, row, strict=True)), truth, unlike, unlike and reject,
            preparation.steps(picture), picture.doubt,
        )
        for file, row, truth, unlike, picture in zip(
            queries.files, rows, queries.classes, unlikes, queries.pictures, strict=True
        )
    ]  # fmt: skip
    examples = preparation.pixels(classifier.support.cpu())
    return Predictions(
        entries, classifier.certainty is not None, names,
        weights_name(checkpoint.source), checkpoint.settings.algorithm,
        classifier.steps, classifier.batch_norm,
        preparation.said([*support.pictures, *queries.pictures]),
        (*support.doubts, *queries.doubts),
        list(map(Look, support.pictures, examples)), [name or "" for name in support.classes],
        list(map(Look, queries.pictures, preparation.pixels(images))),
    )  # fmt: skip
