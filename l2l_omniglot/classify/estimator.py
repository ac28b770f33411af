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

from l2l_omniglot.classify.classifier import UNSURE, Classifier
from l2l_omniglot.classify.inputs import (
    PICTURES,
    Array,
    InputError,
    as_pictures,
    check_range,
    flatten,
    value_range,
    what_came,
)
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data import DRAWINGS, INKS
from l2l_omniglot.data.frame import PAPER
from l2l_omniglot.data.light import ink_is_light
from l2l_omniglot.data.pictures import Picture, find_picture
from l2l_omniglot.errors import check_choice
from l2l_omniglot.experiments.checkpoint import read_checkpoint
from l2l_omniglot.experiments.weights import best_pretrained, find_weights


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A scikit-learn classifier that adapts a trained network to a few images of each class.

    ``fit`` adapts a copy of the network, ``predict`` and ``predict_proba`` classify. Images are
    prepared as `l2l_omniglot.classify.predictor` does with files. A pickle holds the trained
    weights and the support set, and adapts again when it is loaded, with the same results, bit for
    bit if torch uses as many threads.

    Args:
        weights: run folder, checkpoint file or name of pretrained weights; by default the
            most accurate pretrained weights for any number of classes.
        steps: gradient steps on the support set; see `Classifier`.
        batch_norm: ``inductive`` (every image independently) or ``transductive`` (all images of a
            call together).
        picture_ink: shade of the ink in the images given: ``dark``, ``light``, or ``auto``: the
            minority shade; of arrays it is found out once, of the support set.
        redraw: ``auto``, ``always`` or ``never``: which images are centred, scaled and redrawn
            with one pen; see `l2l_omniglot.data.drawing.Drawing.prepared`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: number of pixels of an image.
        classifier_: the adapted `Classifier`.

    Raises:
        InputError: if there are fewer than two classes, or images of another shape than in `fit`.

    Shape:
        Images (B, H, W) or (B, 1, H, W), or a list of B arrays (H, W); or (B, features) as usual in
        scikit-learn: the rows of a square image, padded with paper if the number is no square.
        Values: [0, 1], or [0, 255] if one is above 127; others are rescaled so that the support
        set's range becomes [0, 1].

        Or pictures of any size: a list of B paths, Pillow images or arrays (H, W, 3), or one array
        (B, H, W, 3), uint8 or floats in [0, 1].
    """

    __module__ = "l2l_omniglot"  # where pickles look for it

    def __init__(
        self,
        weights: str | Path | None = None,
        steps: int | None = None,
        batch_norm: str = "inductive",
        picture_ink: str = "auto",
        redraw: str = "auto",
        device: str = "cpu",
    ) -> None:
        self.weights = weights
        self.steps = steps
        self.batch_norm = batch_norm
        self.picture_ink = picture_ink
        self.redraw = redraw
        self.device = device

    def fit(self, X: Any, y: Any) -> FewShotClassifier:  # noqa: N803 - scikit-learn's names
        """Adapts to the support set.

        Args:
            X: support images, see Shape above.
            y: labels (B,), of any type that can be sorted.
        """
        check_choice("picture_ink", self.picture_ink, INKS)
        default = "" if self.weights else best_pretrained()
        self._source = dataclasses.replace(
            find_weights(self.weights, default=default), optimizer={}
        )
        self._prepared = dataclasses.asdict(Preparation.of(self._source, self.redraw))
        pictures = as_pictures(X, self.picture_ink, self._prepared["kind"])
        self._given_pictures = pictures is not None
        if pictures is None:
            pictures, labels = self._fit_arrays(X, y)
        else:
            labels = column_or_1d(y)
            check_consistent_length(pictures, labels)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"1 class ({self.classes_[0]!r}) in y: expected at least 2")
        images = Preparation(**self._prepared).images(pictures)
        self._adaptation = {
            "support": images.contiguous().numpy(), "labels": numbers.astype(np.int64),
            "ways": len(self.classes_), "steps": self.steps, "batch_norm": self.batch_norm,
            "device": self.device,
        }  # fmt: skip
        self._adapt()
        return self

    def _fit_arrays(self, images: Any, labels: Any) -> tuple[list[Picture], Array]:
        flat, self._shape = flatten(images)
        flat, labels = validate_data(self, flat, labels, dtype=np.float64, multi_output=False)
        self._range = value_range(flat)
        self._light_ink = self.picture_ink == "light"
        if self.picture_ink == "auto" and self._prepared["kind"] == DRAWINGS:
            self._light_ink = ink_is_light(self._sheets(flat))
        return self._pictures(flat), labels

    def _adapt(self) -> None:
        """Adapts the network to the support set given to `fit`."""
        how: dict[str, Any] = dict(self._adaptation)  # as fitted, whatever is set afterwards
        how |= {name: torch.from_numpy(how[name]) for name in ("support", "labels")}
        self.classifier_ = Classifier(self._source, **how).double()

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
        probabilities: Array = self._fitted().probabilities(self._images(X)).numpy()
        return probabilities

    def none_of_these(self, X: Any) -> Array:  # noqa: N803
        """Returns which images seem to be of no class, bool (B,); see `Classifier`.

        Raises:
            InputError: if it was not measured how sure the weights are, with so many steps.
        """
        if self._fitted().certainty is None:
            raise InputError(f"weights={self.weights!r}: it {UNSURE}")
        unlike: Array = self.classifier_.none_of_these(self._images(X)).numpy()
        return unlike

    def _fitted(self) -> Classifier:
        check_is_fitted(self)
        return self.classifier_

    def _images(self, X: Any) -> torch.Tensor:  # noqa: N803
        pictures = as_pictures(X, self.picture_ink, self._prepared["kind"])
        if pictures is None and self._given_pictures:
            raise InputError(f"{what_came(X)}: expected a list of pictures, as in fit: {PICTURES}")
        if pictures is not None and not self._given_pictures:
            raise InputError("pictures: expected arrays, as in fit")
        if pictures is None:
            pictures = self._pictures(self._checked(X))
        return Preparation(**self._prepared).images(pictures)

    def _checked(self, images: Any) -> Array:
        if self._shape and getattr(images, "shape", ()) == self._shape:
            raise InputError(f"one image of shape {self._shape}: expected several, (B, H, W)")
        flat, shape = flatten(images)
        if shape and self._shape and shape != self._shape:
            raise InputError(f"images of shape {shape}: expected {self._shape}, as in fit")
        flat = validate_data(self, flat, dtype=np.float64, reset=False)
        if shape:  # rows of features may hold anything
            check_range(flat, *self._range)
        return flat  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Predicts the most probable label of every image, (B,)."""
        chosen = self.predict_proba(X).argmax(axis=1)  # first: it says where nothing was fitted
        labels: Array = self.classes_[chosen]
        return labels

    def _sheets(self, flat: Array, paper: float = 0.0) -> list[Image.Image]:
        """Turns (B, features) into Pillow's images, 8-bit grey, padded with paper, 0 or 1."""
        low, high = self._range
        values = np.clip((flat - low) / (high - low), 0, 1)
        side = math.isqrt(values.shape[1] - 1) + 1
        height, width = self._shape or (side, side)
        missing = height * width - values.shape[1]
        filled = np.pad(values, ((0, 0), (0, missing)), constant_values=paper)
        grey = (PAPER * filled).round().astype(np.uint8)
        return [Image.fromarray(image) for image in grey.reshape(-1, height, width)]

    def _pictures(self, flat: Array) -> list[Picture]:
        """Takes (B, features) for pictures, drawings all with the support set's shade of ink."""
        ink = "light" if self._light_ink else "dark"
        named = {f"image {n}": sheet for n, sheet in enumerate(self._sheets(flat, ink == "dark"))}
        kind = self._prepared["kind"]
        return [
            find_picture(sheet, name, ink, kind, may_be_blank=True) for name, sheet in named.items()
        ]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # It is for drawings; scikit-learn's checks expect more on clouds of points.
        tags.classifier_tags.poor_score = True
        tags.non_deterministic = False
        return tags
