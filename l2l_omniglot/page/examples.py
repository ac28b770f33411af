"""Sets of examples to begin with: invented characters as strokes, Omniglot's as images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from l2l_omniglot.data.stack import ImageStack, span
from l2l_omniglot.data.synthetic import Points, synthetic_strokes
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.experiment import settings_splits
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.page.question import Item

SYNTHETIC, STACK = "synthetic", "omniglot"
MARGIN = 0.1  # of the pad's side, around an invented character


def synthetic_set(ways: int, shots: int, seed: int) -> dict[str, Any]:
    """Invented characters as the page takes them.

    Returns:
        ``support`` and ``query`` as in a question, and ``answer``, the query's class.
    """
    answer = int(np.random.default_rng(seed).integers(ways))
    drawings = [
        [{"strokes": _on_pad(drawing)} for drawing in character]
        for character in synthetic_strokes(ways, shots + 1, seed)
    ]
    support = [character[:shots] for character in drawings]
    return {"support": support, "query": drawings[answer][shots], "answer": answer}


def _on_pad(drawing: list[Points]) -> list[list[list[float]]]:
    """The drawing in the middle of the unit square, shrunk where it is too large for that."""
    points = np.concatenate(drawing)
    low, high = points.min(axis=0), points.max(axis=0)
    shrink = min(1.0, (1 - 2 * MARGIN) / float((high - low).max()))
    return [((stroke - (low + high) / 2) * shrink + 0.5).round(3).tolist() for stroke in drawing]


class StackExamples:
    """Images of the test classes of a class stack, by number.

    Args:
        stack: one channel, of the size and ink trained with.
        settings: of the training, whose split says which classes are for testing.
    """

    def __init__(self, stack: ImageStack, settings: Settings) -> None:
        self._stack = stack
        self._test = np.array(settings_splits(settings, stack).test)

    def draw_set(self, ways: int, shots: int, seed: int) -> dict[str, Any]:
        """Some test classes; see `synthetic_set`."""
        counts, generator = self._stack.images_per_class, np.random.default_rng(seed)
        classes = generator.choice(self._test, ways, replace=False)
        answer = int(generator.integers(ways))
        drawings = [
            [
                {"item": [int(character), int(item)]}
                for item in generator.choice(counts[character], shots + 1, replace=False)
            ]
            for character in classes
        ]
        support = [character[:shots] for character in drawings]
        return {"support": support, "query": drawings[answer][shots], "answer": answer}

    def image(self, item: Item) -> torch.Tensor:
        """The image as the network takes it: float32 (1, H, W) in [0, 1].

        Raises:
            SettingsError: if there is no such image.
        """
        counts = self._stack.images_per_class
        if item.character >= len(counts) or item.number >= counts[item.character]:
            raise SettingsError(
                f"item [{item.character}, {item.number}]: there are {len(counts)} characters of "
                f"{span(counts)} images"
            )
        return self._stack.images([item.character], [item.number])[0]

    def png(self, item: Item) -> bytes:
        """The image as a mask for the page: transparent paper, opaque ink."""
        image = self.image(item)[0]
        return _mask(image if self._stack.ink == "white" else 1 - image)


def _mask(ink: torch.Tensor) -> bytes:
    """A PNG of black, opaque where ink (H, W) is 1."""
    alpha = Image.fromarray((ink * 255).round().to(torch.uint8).numpy())
    image = Image.new("L", alpha.size, 0)
    image.putalpha(alpha)
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()
