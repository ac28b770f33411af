"""Few-shot classification as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn.functional import interpolate

from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.predictor import Preparation
from l2l_omniglot.data.pictures import FITS, PAPER
from l2l_omniglot.errors import DataError, check_choice
from l2l_omniglot.experiments.checkpoint import read_checkpoint
from l2l_omniglot.experiments.weights import best_pretrained, find_weights

Array = npt.NDArray[Any]
INKS = ("white", "black")


class InputError(DataError, ValueError):
    """Images or labels that cannot be fitted or classified; a ValueError, too."""


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
            Omniglot's drawings; the `fit` of `l2l_omniglot.classify.predictor.Preparation`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: number of pixels of an image.
        classifier_: the adapted `Classifier`.

    Raises:
        InputError: if there are fewer than two classes, or images of another shape than in `fit`.

    Shape:
        Images (B, H, W) or (B, 1, H, W), or a list of B arrays (H, W) or Pillow images; or
        (B, features) as usual in scikit-learn: the rows of a square image, padded with paper
        if the number is no square. They are resized to the size of the training images. Values:
        [0, 1], or [0, 255] if one is above 127; others are rescaled so that the support set's range
        becomes [0, 1].
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
        flat, self._shape = _flatten(X)
        flat, y = validate_data(self, flat, y, dtype=np.float64, multi_output=False)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"1 class ({self.classes_[0]!r}) in y: expected at least 2")
        self._range = _value_range(flat)
        own = "" if self.checkpoint else best_pretrained()
        found = find_weights(self.checkpoint, default=own)
        self._source = dataclasses.replace(found, optimizer={})
        self._preparation: tuple[Any, ...] = ()
        if self.centre != "never":
            chosen = Preparation.of(self._source, self._pictures(flat), self.centre)
            self._preparation = dataclasses.astuple(chosen)
        support = self._images(flat).contiguous().numpy(), labels.astype(np.int64)
        how = len(self.classes_), self.steps, self.batch_norm, self.device
        self._adaptation: tuple[Any, ...] = *support, *how
        self._adapt()
        return self

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
        flat, shape = _flatten(X)
        if shape and self._shape and shape != self._shape:
            raise InputError(f"images of shape {shape}: expected {self._shape}, as in fit")
        flat = validate_data(self, flat, dtype=np.float64, reset=False)
        if shape:  # rows of features may hold anything
            _check_range(flat, *self._range)
        found: Array = self.classifier_.probabilities(self._images(flat)).numpy()
        return found

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


def _flatten(images: Any) -> tuple[Any, tuple[int, ...]]:
    """Returns images as (B, features), and the shape of one unless they were flat."""
    kinds = isinstance(images, (list, tuple)) and [
        hasattr(entry, "__array__") or isinstance(entry, Image.Image) for entry in images
    ]
    if kinds and all(kinds):
        # Pillow's bits become 0 and 255, its colours grey.
        grey = [i.convert("L") if isinstance(i, Image.Image) else i for i in images]
        arrays = [np.asarray(image) for image in grey]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise InputError(f"images of shapes {shapes[0]} and {shapes[1]}: expected equal shapes")
        images = np.stack(arrays)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if len(shape) == 4:
        raise InputError(f"images of shape {shape}: expected (B, H, W) or (B, 1, H, W)")
    if len(shape) != 3:
        return images, ()
    return np.asarray(images).reshape(shape[0], math.prod(shape[1:])), shape[1:]


def _value_range(flat: Array) -> tuple[float, float]:
    """Returns the values that become 0 and 1."""
    low, high = float(flat.min()), float(flat.max())
    if low >= 0 and (high <= 1 or PAPER / 2 < high <= PAPER):
        return 0.0, 1.0 if high <= 1 else float(PAPER)
    return low, high if high > low else low + 1


def _check_range(flat: Array, low: float, high: float) -> None:
    """Refuses images of another range of values than in `fit`, such as 0 to 1 for 0 to 255."""
    lowest, highest = float(flat.min()), float(flat.max())
    span = high - low
    outside = lowest < low - span / 2 or highest > high + span / 2
    tiny = lowest < highest and highest - lowest < span / 100
    if outside or tiny:
        raise InputError(
            f"images of values {lowest:g} to {highest:g}: expected {low:g} to {high:g}, as in fit"
        )
