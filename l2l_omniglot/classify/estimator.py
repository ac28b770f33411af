"""Few-shot classification as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from torch.nn.functional import interpolate

from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.inputs import (
    Array,
    InputError,
    as_pictures,
    check_range,
    flatten,
    value_range,
)
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.pictures import FITS, PAPER
from l2l_omniglot.errors import check_choice
from l2l_omniglot.experiments.checkpoint import read_checkpoint
from l2l_omniglot.experiments.weights import best_pretrained, find_weights

INKS = ("white", "black")


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A scikit-learn classifier that adapts a trained network to a few images of each class.

    ``fit`` adapts a copy of the network, ``predict`` and ``predict_proba`` classify. Images are
    prepared as `l2l_omniglot.classify.predictor` does with files. A pickle holds the trained
    weights and the support set, and adapts again when it is loaded, with the same results, bit for
    bit if torch uses as many threads.

    Args:
        checkpoint: run folder, checkpoint file or name of pretrained weights; by default the
            most accurate pretrained weights for any number of classes.
        steps: gradient steps on the support set; see `Classifier`.
        batch_norm: ``inductive`` (every image by itself) or ``transductive`` (all images of a
            call together).
        ink: of the images given: ``white`` is 1 on paper of 0, ``black`` is 0 on paper of 1.
            They are inverted if the network was trained on the other.
        centre: ``auto``, ``always`` or ``never``: whether to centre and scale the ink as in
            Omniglot's drawings; the `fit` of `l2l_omniglot.classify.preparation.Preparation`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: number of pixels of an image.
        classifier_: the adapted `Classifier`.

    Raises:
        InputError: if there are fewer than two classes, or images of another shape than in `fit`.

    Shape:
        Images (B, H, W) or (B, 1, H, W), or a list of B arrays (H, W); or (B, features) as usual in
        scikit-learn: the rows of a square image, padded with paper if the number is no square. They
        are resized to the size of the training images. Values: [0, 1], or [0, 255] if one is above
        127; others are rescaled so that the support set's range becomes [0, 1].

        Or pictures of any size, prepared as `predict` prepares files, whatever `ink` is: a list of
        B paths, Pillow images or arrays uint8 (H, W, 3), or one array uint8 (B, H, W, 3).
    """

    __module__ = "l2l_omniglot"  # where pickles look for it

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        steps: int | None = None,
        batch_norm: str = "inductive",
        ink: str = "white",
        centre: str = "auto",
        device: str = "cpu",
    ) -> None:
        self.checkpoint = checkpoint
        self.steps = steps
        self.batch_norm = batch_norm
        self.ink = ink
        self.centre = centre
        self.device = device

    def fit(self, X: Any, y: Any) -> FewShotClassifier:  # noqa: N803 - scikit-learn's names
        """Adapts to the support set.

        Args:
            X: support images, see Shape above.
            y: labels (B,), of any type that can be sorted.
        """
        check_choice("ink", self.ink, INKS)
        check_choice("centre", self.centre, FITS)
        own = "" if self.checkpoint else best_pretrained()
        self._source = dataclasses.replace(find_weights(self.checkpoint, default=own), optimizer={})
        pictures = as_pictures(X)
        self._given_pictures = pictures is not None
        images = self._fit_arrays(X, y) if pictures is None else self._fit_pictures(pictures, y)
        self.classes_, labels = np.unique(self._y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"1 class ({self.classes_[0]!r}) in y: expected at least 2")
        support = images.contiguous().numpy(), labels.astype(np.int64)
        how = len(self.classes_), self.steps, self.batch_norm, self.device
        self._adaptation: tuple[Any, ...] = *support, *how
        self._adapt()
        return self

    def _fit_arrays(self, images: Any, labels: Any) -> torch.Tensor:
        flat, self._shape = flatten(images)
        flat, self._y = validate_data(self, flat, labels, dtype=np.float64, multi_output=False)
        check_classification_targets(self._y)
        self._range = value_range(flat)
        self._preparation: tuple[Any, ...] = ()
        if self.centre != "never":
            chosen = Preparation.of(self._source, self._pictures(flat), fit=self.centre)
            self._preparation = dataclasses.astuple(chosen)
        return self._images(flat)

    def _fit_pictures(self, pictures: list[Image.Image], labels: Any) -> torch.Tensor:
        self._y = column_or_1d(labels)
        check_consistent_length(pictures, self._y)
        check_classification_targets(self._y)
        chosen = Preparation.of(self._source, pictures, fit=self.centre)
        self._preparation = dataclasses.astuple(chosen)
        return chosen.images(pictures)

    def _adapt(self) -> None:
        """Adapts the network to the support set given to `fit`."""
        images, labels, *how = self._adaptation
        self.classifier_ = Classifier(
            self._source, torch.from_numpy(images), torch.from_numpy(labels), *how
        ).double()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if state.pop("classifier_", None) is not None:
            state["_source"] = self._source.to_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(self.__dict__.get("_source"), bytes):
            self._source = read_checkpoint(state["_source"], "pickled weights")
            self._adapt()

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Predicts probabilities float64 (B, classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        pictures = as_pictures(X)
        if (pictures is not None) != self._given_pictures:
            kinds = ("arrays", "pictures") if self._given_pictures else ("pictures", "arrays")
            raise InputError(f"{kinds[0]}: expected {kinds[1]}, as in fit")
        if pictures is None:
            images = self._checked(X)
        else:
            images = Preparation(*self._preparation).images(pictures)
        found: Array = self.classifier_.probabilities(images).numpy()
        return found

    def _checked(self, images: Any) -> torch.Tensor:
        flat, shape = flatten(images)
        if shape and self._shape and shape != self._shape:
            raise InputError(f"images of shape {shape}: expected {self._shape}, as in fit")
        flat = validate_data(self, flat, dtype=np.float64, reset=False)
        if shape:  # rows of features may hold anything
            check_range(flat, *self._range)
        return self._images(flat)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Predicts the most probable label of every image, (B,)."""
        chosen = self.predict_proba(X).argmax(axis=1)  # first: it says where nothing was fitted
        labels: Array = self.classes_[chosen]
        return labels

    def _ink(self, flat: Array) -> Array:
        """Turns (B, features) into drawings (B, height, width), ink 1 on paper 0."""
        low, high = self._range
        values = np.clip((flat - low) / (high - low), 0, 1)
        values = values if self.ink == "white" else 1 - values
        side = math.isqrt(values.shape[1] - 1) + 1
        height, width = self._shape or (side, side)
        filled = np.pad(values, ((0, 0), (0, height * width - values.shape[1])))
        return filled.reshape(-1, height, width)

    def _pictures(self, flat: Array) -> list[Image.Image]:
        """Turns (B, features) into pictures, 8-bit grey: dark ink on white paper."""
        grey = (PAPER * (1 - self._ink(flat))).round().astype(np.uint8)
        return [Image.fromarray(picture) for picture in grey]

    def _images(self, flat: Array) -> torch.Tensor:
        """Turns (B, features) into the network's images: float32 (B, channels, height, width)."""
        if self._preparation:
            return Preparation(*self._preparation).images(self._pictures(flat))
        source = self._source
        images = torch.from_numpy(self._ink(flat).astype(np.float32))[:, None]
        size = source.image_size
        sizes = (size, size) if isinstance(size, int) else size
        if images.shape[2:] != sizes:
            images = interpolate(images, sizes, mode="bilinear", antialias=True)
        images = images if source.settings.ink == "white" else 1 - images
        return images.expand(-1, source.channels, -1, -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # It is for drawings; scikit-learn's checks expect more on clouds of points.
        tags.classifier_tags.poor_score = True
        tags.non_deterministic = False
        return tags
