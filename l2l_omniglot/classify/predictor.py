"""Few-shot classification of your own pictures, from folders to labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.predictions import Prediction, Predictions
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.data.pictures import FITS, centre_and_scale, is_centred, stretch, to_images
from l2l_omniglot.errors import DataError, check_choice
from l2l_omniglot.experiments.checkpoint import Checkpoint


class Preparation:
    """The preparation of pictures as images for the network, the same for support and queries.

    Args:
        checkpoint: of the network; gives size, channels and ink.
        support: the support pictures, which decide for all.
        fit: ``always``: stretch the grey values, and centre and scale as Omniglot's drawings
            are; ``auto``: stretch, and do the rest unless the support pictures are so already;
            ``never``: leave pictures as they are.

    Attributes:
        fitted: whether pictures are centred and scaled.
        stretched: whether their grey values are stretched.

    Raises:
        DataError: if the network was not trained on square images.
    """

    def __init__(
        self, checkpoint: Checkpoint, support: Sequence[Image.Image], fit: str = "auto"
    ) -> None:
        check_choice("fit", fit, FITS)
        size = checkpoint.image_size
        if not isinstance(size, int):
            raise DataError(f"{checkpoint.source}: trained on images of {size}; expected square")
        self.fitted = fit == "always" or (fit == "auto" and not is_centred(support))
        self.stretched = fit != "never"
        self._size, self._channels, self._ink = size, checkpoint.channels, checkpoint.settings.ink

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Turns B pictures into images, float32 (B, channels, size, size) in [0, 1]."""
        if self.stretched:
            prepare = centre_and_scale if self.fitted else stretch
            pictures = [prepare(picture) for picture in pictures]
        images = to_images(pictures, self._size, self._ink)
        return images.expand(-1, self._channels, -1, -1)


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

    Args:
        checkpoint: trained weights.
        support: pictures of known classes.
        steps: gradient steps on the support set, see `Classifier`.
        batch_norm: see `Classifier`.
        fit: see `Preparation`.
        device: see `Classifier`.
    """
    preparation = Preparation(checkpoint, support.pictures, fit)
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
    return Predictions(
        entries, names, classifier.steps, classifier.batch_norm, classifier.trained_ways,
        preparation.fitted,
    )  # fmt: skip
