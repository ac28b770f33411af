"""Few-shot classification of a person's own pictures: from folders to labels."""

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
    """How pictures become the network's images; decided by the support set, for all alike.

    Args:
        checkpoint: of the network; says size, channels and ink.
        support: the support pictures.
        fit: ``always``: grey values stretched, and centred and scaled as Omniglot's drawings are;
            ``auto``: stretched, and the rest unless they are drawn so already; ``never``: as
            they are.

    Attributes:
        fitted: whether pictures are centred and scaled.
        stretched: whether their grey values are.

    Raises:
        DataError: if the network was not trained on square images.
    """

    def __init__(
        self, checkpoint: Checkpoint, support: Sequence[Image.Image], fit: str = "auto"
    ) -> None:
        check_choice("fit", fit, FITS)
        size = checkpoint.image_size
        if not isinstance(size, int):
            raise DataError(
                f"{checkpoint.source}: was trained on images of {size}; expected square"
            )
        self.fitted = fit == "always" or (fit == "auto" and not is_centred(support))
        self.stretched = fit != "never"
        if self.fitted:
            self._prepared = centre_and_scale
        else:
            self._prepared = stretch if self.stretched else _untouched
        self._size, self._channels = size, checkpoint.channels
        self._ink = checkpoint.settings.ink

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """B pictures as float32 (B, channels, size, size) in [0, 1]."""
        shown = [self._prepared(picture) for picture in pictures]
        images = to_images(shown, self._size, self._ink)
        return images.expand(-1, self._channels, -1, -1)


def _untouched(picture: Image.Image) -> Image.Image:
    return picture


def adapt_to_pictures(
    checkpoint: Checkpoint,
    support: Collection,
    *,
    steps: int | None = None,
    batch_norm: str = "inductive",
    fit: str = "auto",
    device: str = "cpu",
) -> tuple[Classifier, Preparation]:
    """A classifier of the support's classes, and how it wants its pictures.

    Args:
        checkpoint: trained weights.
        support: pictures of known classes.
        steps: gradient steps on the support set; as trained by default.
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
    """Classifies pictures by a few examples of each class; arguments as `adapt_to_pictures`."""
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
        entries,
        names,
        classifier.steps,
        classifier.batch_norm,
        classifier.trained_ways,
        preparation.fitted,
    )
