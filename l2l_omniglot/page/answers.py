"""Answers to questions: networks adapted to support sets, the last few of them cached."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from PIL import Image

from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.pictures import to_images
from l2l_omniglot.data.strokes import as_images
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.page.examples import StackExamples
from l2l_omniglot.page.question import WAYS, Example, Item, Picture, Support

KEPT = 8  # support sets; each takes 10 MB for 20 steps and 20 ways


class Nearness(NamedTuple):
    """How near a query is to the characters; see `Classifier`.

    Attributes:
        distances: squared, from each character's mean embedding.
        reach: within which queries of each usually are; None if that was not measured.
        unlike: whether it seems to be none of them.
    """

    distances: list[float]
    reach: list[float] | None
    unlike: bool


class _Once:
    """A classifier that is made when it is first asked for; who asks meanwhile waits."""

    def __init__(self, make: Callable[[Support], Classifier], support: Support) -> None:
        self._make, self._support = make, support
        self._lock = threading.Lock()
        self._made: Classifier | None = None

    def get(self) -> Classifier:
        with self._lock:
            if self._made is None:
                self._made = self._make(self._support)
            return self._made


class Answers:
    """Adapts a trained network to support sets, and classifies queries.

    Safe to use from many threads: one adapts for all that ask about the same support set, which
    the others do not wait for.

    Args:
        checkpoint: trained weights, on square images of one channel.
        steps: gradient steps K on the support set; see `Classifier`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        stack: the source of a question's items.

    Attributes:
        steps: K.
        ways: least and most classes of a support set; a trained head fits one number only.
        image_size: pixels per side.
        ink: of the network's images, ``white`` (1) or ``black`` (0).
        kind: of pictures, see `l2l_omniglot.data.KINDS`.

    Raises:
        SettingsError: if the weights are for other images, or more classes than the page has.
        BackboneError: if the network cannot classify a single image.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        steps: int | None = None,
        device: str = "cpu",
        stack: StackExamples | None = None,
    ) -> None:
        size, channels = checkpoint.image_size, checkpoint.channels
        if channels != 1 or not isinstance(size, int):
            trained = f"{checkpoint.source}: trained on {channels} channels and size {size}"
            raise SettingsError(f"{trained}; expected square images of 1 channel, as drawings are")
        settings = checkpoint.settings
        self.ways = WAYS if settings.any_ways else (settings.ways, settings.ways)
        if self.ways[1] > WAYS[1]:
            head = f"{checkpoint.source}: has a head trained for {settings.ways} ways"
            raise SettingsError(f"{head}; expected at most {WAYS[1]}, or weights for any number")
        self.image_size: int = size
        self.ink, self.kind = settings.ink, checkpoint.pictures
        self.steps = settings.steps(steps)
        self._checkpoint, self._device, self._stack = checkpoint, device, stack
        self._classifiers = lru_cache(maxsize=KEPT)(lambda support: _Once(self._adapt, support))
        # Refuses a network that cannot be used this way, and makes the first answer fast.
        falling, rising = (((0.0, 0.0), (1.0, 1.0)),), (((0.0, 1.0), (1.0, 0.0)),)
        some = [(rising,) if number % 2 else (falling,) for number in range(self.ways[0])]
        self.probabilities(tuple(some), self.image(falling))

    def adapt(self, support: Support) -> None:
        """Adapts to a support set in advance of its first query."""
        self._adapted(support)

    def probabilities(self, support: Support, image: torch.Tensor) -> list[list[float]]:
        """Predicts probabilities after 0, 1, ..., K steps: K + 1 rows, one number per class.

        Args:
            support: the examples of each class.
            image: of the query, see `image`.

        Raises:
            SettingsError: if an example is an item that does not exist.
        """
        classifier = self._adapted(support)
        rows = [classifier.probabilities(image[None], step) for step in range(self.steps + 1)]
        probabilities: list[list[float]] = torch.cat(rows).tolist()
        return probabilities

    def nearness(self, support: Support, image: torch.Tensor) -> Nearness:
        """Measures how far a query's image (1, H, W) is from the characters, after all steps."""
        classifier = self._adapted(support)
        distances: list[float] = classifier.distances(image[None])[0].tolist()
        unlike = bool(classifier.none_of_these(image[None])[0])
        reach = None if classifier.reach is None else classifier.reach.tolist()
        return Nearness(distances, reach, unlike)

    def image(self, example: Example) -> torch.Tensor:
        """Turns an example into the network's image: float32 (1, H, W) in [0, 1].

        Raises:
            SettingsError: if it is an item that does not exist.
        """
        if isinstance(example, Picture):
            picture = Image.frombytes("L", (example.side, example.side), example.pixels)
            return to_images([picture], self.image_size, self.ink)[0]
        if not isinstance(example, Item):
            return as_images([example], self.image_size, self.ink)[0]
        if self._stack is None:
            where = f"item [{example.character}, {example.number}]"
            raise SettingsError(f"{where}: no stack is loaded; expected strokes")
        return self._stack.image(example)

    def _adapted(self, support: Support) -> Classifier:
        return self._classifiers(support).get()

    def _adapt(self, support: Support) -> Classifier:
        images = [self.image(example) for examples in support for example in examples]
        labels = [number for number, examples in enumerate(support) for _ in examples]
        return Classifier(
            self._checkpoint, torch.stack(images), torch.tensor(labels), len(support), self.steps,
            "inductive", self._device,
        )  # fmt: skip


def settle() -> None:
    """Exempts everything loaded so far from garbage collection; call it before serving.

    Otherwise a full collection, with torch loaded, stops all threads for a quarter of a second or
    more, about once in twenty questions.
    """
    gc.collect()
    gc.freeze()
