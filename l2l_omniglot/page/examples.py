"""Example sets for the page: invented characters as strokes, Omniglot's as images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from l2l_omniglot.data.stack import Stack, span
from l2l_omniglot.data.synthetic import Points, synthetic_strokes
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.experiment import settings_splits
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.page.question import Item

SYNTHETIC, STACK = "synthetic", "omniglot"
MARGIN = 0.1  # of the pad's side, around an invented character


def synthetic_set(ways: int, shots: int, seed: int) -> dict[str, Any]:
    """Draws a set of invented characters.

    Returns:
        ``support`` and ``query`` as in a question, and ``answer``, the query's class.
    """
    answer = int(np.random.default_rng(seed).integers(ways))
    return _example_set(synthetic_drawings(ways, shots + 1, seed), answer)


def synthetic_drawings(count: int, drawers: int, seed: int) -> list[list[dict[str, Any]]]:
    """Draws invented characters, so many times each, as examples of a question."""
    return [
        [{"strokes": _on_pad(drawing)} for drawing in character]
        for character in synthetic_strokes(count, drawers, seed)
    ]


def _example_set(drawings: list[list[dict[str, Any]]], answer: int) -> dict[str, Any]:
    """Takes the last drawing of the answer's class as query, and all but the last as support."""
    support = [character[:-1] for character in drawings]
    return {"support": support, "query": drawings[answer][-1], "answer": answer}


def _on_pad(drawing: list[Points]) -> list[list[list[float]]]:
    """Centres a drawing in the unit square, and shrinks it if it is too large."""
    points = np.concatenate(drawing)
    low, high = points.min(axis=0), points.max(axis=0)
    shrink = min(1.0, (1 - 2 * MARGIN) / float((high - low).max()))
    return [((stroke - (low + high) / 2) * shrink + 0.5).round(3).tolist() for stroke in drawing]


class StackExamples:
    """The images of a class stack by number, with example sets of its test classes.

    Args:
        stack: one channel, of the size and ink of the training images.
        settings: of the training, whose split gives the test classes.
    """

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self._stack = stack
        self._test = np.array(settings_splits(settings, stack).test)

    def draw_set(self, ways: int, shots: int, seed: int) -> dict[str, Any]:
        """Draws a set of test classes; see `synthetic_set`."""
        counts, generator = self._stack.images_per_class, np.random.default_rng(seed)
        classes = generator.choice(self._test, ways, replace=False)
        answer = int(generator.integers(ways))
        items = [generator.choice(counts[c], shots + 1, replace=False).tolist() for c in classes]
        drawings = [
            [{"item": [int(character), number]} for number in numbers]
            for character, numbers in zip(classes, items, strict=True)
        ]
        return _example_set(drawings, answer)

    def image(self, item: Item) -> torch.Tensor:
        """Returns the network's image of an item: float32 (1, H, W) in [0, 1].

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
        """Returns the image as a PNG mask: transparent paper, opaque black ink."""
        image = self.image(item)[0]
        ink = image if self._stack.ink == "white" else 1 - image
        alpha = Image.fromarray((ink * 255).round().to(torch.uint8).numpy())
        mask, out = Image.new("L", alpha.size, 0), io.BytesIO()
        mask.putalpha(alpha)
        mask.save(out, "png")
        return out.getvalue()
