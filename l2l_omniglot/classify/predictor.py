"""Few-shot classification of your own pictures, from folders to labels."""

from __future__ import annotations

import torch

from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.predictions import Prediction, Predictions
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.weights import weights_name


def adapt_to_pictures(
    checkpoint: Checkpoint,
    support: Collection,
    queries: Collection | None = None,
    *,
    steps: int | None = None,
    batch_norm: str = "inductive",
    fit: str = "auto",
    device: str = "cpu",
) -> tuple[Classifier, Preparation]:
    """Adapts a classifier to support pictures; returns it with the preparation for its queries.

    `steps`, `batch_norm` and `device` are those of `Classifier`, `fit` that of `Preparation`, for
    which queries that are known matter, too.
    """
    known = queries.pictures if queries else ()
    preparation = Preparation.of(checkpoint, support.pictures, known, fit)
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
    reject: bool = False,
) -> Predictions:
    """Classifies pictures from a few examples of each class; see `adapt_to_pictures`.

    With `reject`, what seems to be of no class is predicted as `NONE_OF_THESE`.

    Raises:
        SettingsError: if it is to be rejected, and the weights do not know how sure they are.
    """
    if reject and checkpoint.certainty is None:
        raise SettingsError(
            f"{checkpoint.source}: does not know how sure it is; expected pretrained weights, or "
            "to reject nothing"
        )
    classifier, preparation = adapt_to_pictures(
        checkpoint, support, queries, steps=steps, batch_norm=batch_norm, fit=fit, device=device
    )
    images = preparation.images(queries.pictures)
    rows = classifier.probabilities(images).tolist()
    unlikes = classifier.none_of_these(images).tolist()
    names = support.names
    entries = [
        Prediction(file, dict(zip(names, row, strict=True)), truth, unlike, unlike and reject)
        for file, row, truth, unlike in zip(
            queries.files, rows, queries.classes, unlikes, strict=True
        )
    ]
    examples = preparation.pixels(classifier.support.cpu())
    return Predictions(
        entries, checkpoint.certainty is not None, names,
        weights_name(checkpoint.source), checkpoint.settings.algorithm,
        classifier.steps, classifier.batch_norm,
        preparation.fitted, preparation.reason, (*support.cut_out, *queries.cut_out),
        [(seen, name or "") for seen, name in zip(examples, support.classes, strict=True)],
        preparation.pixels(images),
    )  # fmt: skip
