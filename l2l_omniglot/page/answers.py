"""Answers to questions: networks adapted to support sets, the last few of them kept."""

from __future__ import annotations

import gc
import threading
from functools import lru_cache

import torch

from l2l_omniglot.backbones import BATCH_NORMS
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.strokes import as_images
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.page.examples import StackExamples
from l2l_omniglot.page.question import Example, Item, Support

KEPT = 8  # support sets; 21 networks of 20 steps, 20 ways take 10 MB


class Answers:
    """Adapts a trained network to support sets, and classifies queries.

    May be used by many threads: they take turns.

    Args:
        checkpoint: trained weights, on square images of one channel.
        steps: gradient steps K on the support set; as trained by default.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        stack: where items of a question come from.

    Attributes:
        steps: K.
        image_size: pixels a side.
        ink: what ink is to the network, ``white`` (1) or ``black`` (0).

    Raises:
        SettingsError: if the weights are for other images.
        BackboneError: if the network cannot answer for one image alone.
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
            raise SettingsError(
                f"{checkpoint.source}: trained on {channels} channels and size {size}; expected "
                "square images of 1 channel, as drawings are"
            )
        self.image_size: int = size
        self.ink = checkpoint.settings.ink
        self.steps = checkpoint.settings.eval_steps if steps is None else steps
        self._checkpoint, self._device, self._stack = checkpoint, device, stack
        self._lock = threading.Lock()
        self._classifier = lru_cache(maxsize=KEPT)(self._adapt)
        self._try_out()

    def adapt(self, support: Support) -> None:
        """Adapts to a support set before a query of it is asked for."""
        with self._lock:
            self._classifier(support)

    def probabilities(self, support: Support, image: torch.Tensor) -> list[list[float]]:
        """What the network holds likely after 0, 1, ..., K steps: K + 1 rows of ways numbers.

        Args:
            support: of each class its examples.
            image: of the query, see `image`.

        Raises:
            SettingsError: if an example is an item that is not there.
        """
        with self._lock:  # what normalises by the support set changes a network meanwhile
            classifier = self._classifier(support)
            rows = [classifier.probabilities(image[None], step) for step in range(self.steps + 1)]
        found: list[list[float]] = torch.cat(rows).tolist()
        return found

    def image(self, example: Example) -> torch.Tensor:
        """An example as the network takes it: float32 (1, H, W) in [0, 1].

        Raises:
            SettingsError: if it is an item that is not there.
        """
        if not isinstance(example, Item):
            return as_images([example], self.image_size, self.ink)[0]
        if self._stack is None:
            raise SettingsError(
                f"item [{example.character}, {example.number}]: no stack at hand; expected strokes"
            )
        return self._stack.image(example)

    def _adapt(self, support: Support) -> Classifier:
        images = [self.image(example) for examples in support for example in examples]
        labels = [number for number, examples in enumerate(support) for _ in examples]
        return Classifier(
            self._checkpoint,
            torch.stack(images),
            torch.tensor(labels),
            len(support),
            self.steps,
            BATCH_NORMS[1],  # a query is alone
            self._device,
        )

    def _try_out(self) -> None:
        """A network that cannot be used this way is refused now, and the first answer is fast."""
        falling, rising = (((0.0, 0.0), (1.0, 1.0)),), (((0.0, 1.0), (1.0, 0.0)),)
        self.probabilities(((falling,), (rising,)), self.image(falling))


def settle() -> None:
    """Takes what is loaded by now out of the garbage collector's sight, before serving.

    A full pass over torch and all it brings holds every thread up for a quarter of a second and
    more, once in some twenty questions.
    """
    gc.collect()
    gc.freeze()
