"""Compares `predict` with nearest neighbour on pixels, on other digits than Omniglot's.

The pictures are scikit-learn's 1,797 handwritten digits of 8 x 8 pixels. A draw takes classes at
random, and of each its support pictures; all other pictures of these classes are queries. Nearest
neighbour is Euclidean, on the pixels as they are.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.data.frame import PAPER
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.data.pictures import Picture, parse_picture
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.baselines import Baseline

Array = npt.NDArray[Any]
DARKEST = 16  # value of ink in these digits; paper is 0
SETTINGS = tuple(product((5, 10), (1, 5)))  # ways, shots


class Draw(NamedTuple):
    """Numbers of the pictures that are support, and of those that are queries."""

    support: Array
    query: Array


class Digits:
    """The digits, as numbers and as pictures that were written as files are and read again."""

    def __init__(self) -> None:
        data = load_digits()
        self.images, self.labels = data.images, data.target
        self._drawing = cache(self._read)

    def _read(self, number: int) -> Picture:
        grey = PAPER - (PAPER / DARKEST * self.images[number]).round()
        file = io.BytesIO()
        Image.fromarray(grey.astype(np.uint8)).save(file, "png")
        return parse_picture(file.getvalue(), f"{number}.png")

    def draws(self, ways: int, shots: int, seeds: range) -> Iterator[Draw]:
        """Draws a support set for each seed."""
        for seed in seeds:
            generator = np.random.default_rng(seed)
            classes = generator.choice(10, ways, replace=False)
            members = [np.flatnonzero(self.labels == label) for label in classes]
            support = np.concatenate([generator.choice(m, shots, replace=False) for m in members])
            yield Draw(support, np.setdiff1d(np.concatenate(members), support))

    def collection(self, numbers: Array) -> Collection:
        """Returns the pictures of these numbers, as `predict` reads them from folders."""
        return Collection(
            [Path(f"{number}.png") for number in numbers],
            [self._drawing(number) for number in numbers],
            [str(self.labels[number]) for number in numbers],
        )


def nearest(digits: Digits, draw: Draw) -> float:
    """Returns the accuracy of the nearest support picture's class."""
    flat = digits.images.reshape(len(digits.images), -1)
    judge = KNeighborsClassifier(1).fit(flat[draw.support], digits.labels[draw.support])
    return float(judge.score(flat[draw.query], digits.labels[draw.query]))


def by_predict(name: str, digits: Digits, draw: Draw) -> float:
    """Returns the accuracy of `predict`."""
    support, query = map(digits.collection, draw)
    predictions = predict(find_weights(name), support, query)
    return predictions.correct / predictions.known


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per method: the mean accuracy over the draws."""
    parser = argparse.ArgumentParser(prog="benchmarks.digits", description=__doc__)
    parser.add_argument("--draws", type=int, default=10, help="of each setting (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the first draw (0)")
    parser.add_argument("--weights", nargs="+", default=["resnet8", "conv4"], help="names")
    given = parser.parse_args(arguments)
    digits, seeds = Digits(), range(given.seed, given.seed + given.draws)
    methods: dict[str, Callable[[Digits, Draw], float]] = {"nearest neighbour, pixels": nearest}
    for name in given.weights:
        methods[f"predict, {name}"] = lambda *what, name=name: by_predict(name, *what)
    rows = [
        (title, *(_accuracy(method, digits, digits.draws(*size, seeds)) for size in SETTINGS))
        for title, method in methods.items()
    ]
    print(table(("", *(f"{ways}-way {shots}-shot" for ways, shots in SETTINGS)), rows))


def _accuracy(
    method: Callable[[Digits, Draw], float], digits: Digits, draws: Iterator[Draw]
) -> str:
    accuracies = Baseline([method(digits, draw) for draw in draws])
    return percent(accuracies.accuracy, accuracies.ci95)


if __name__ == "__main__":
    main()
