"""Measures `predict` on photographs of invented characters, by kind of photograph.

The support pictures are tidy drawings, or photographs of the same kind as the queries. A draw takes
characters at random, and of each its support pictures and two queries. Fractions are accuracies
with their intervals over draws: Wilson's over the queries would take those of a character for
independent. Kinds "pen 0.8" to "pen 10.5" are clean drawings by pens of that many pixels of 105.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.certainty import calibration_error
from l2l_omniglot._util.text import percent, table
from l2l_omniglot.classify.predictions import Predictions
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.data import pictures
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.data.pictures import parse_picture
from l2l_omniglot.errors import DataError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.weights import best_pretrained, find_weights
from l2l_omniglot.meta.baselines import Baseline
from tools.photographs import KINDS, PEN_WIDTHS, drawings, photograph, seed, with_pen

CHARACTERS, QUERIES = 40, 2  # of a half; of each character in a draw
SETTINGS = tuple(product((5, 10), (1, 3)))  # ways, shots
TIDY = "tidy"
PENS = {f"pen {width:g}": width for width in PEN_WIDTHS}
SURE = 0.9


class Picture(NamedTuple):
    """Which photograph: of its half, kind, character and item."""

    kind: str
    character: int
    item: int


class Found(NamedTuple):
    """What was found of one kind and setting.

    Attributes:
        right: accuracy of each draw.
        sure_when_wrong: mean probability of wrong predictions; 0 if there are none.
        fooled: share of queries that are wrong and over `SURE`.
        warned: share of wrong queries that are doubted, or unlike all classes.
        calibration: expected calibration error before and after dividing by the temperature.
    """

    right: Baseline
    sure_when_wrong: float
    fooled: float
    warned: float
    calibration: tuple[float, float]


class Pool:
    """The photographs of one half, read as `predict` reads files; what cannot be read is None."""

    def __init__(self, half: str) -> None:
        self.half = half
        self._strokes = drawings(half, CHARACTERS, 3 + QUERIES)
        self.read = cache(self._read)

    def _read(self, picture: Picture) -> pictures.Picture | None:
        file = io.BytesIO()
        self._take(picture).save(file, "png", compress_level=0)
        try:
            return parse_picture(file.getvalue(), "taken.png")
        except DataError:
            return None

    def _take(self, picture: Picture) -> Image.Image:
        strokes = self._strokes[picture.character][picture.item]
        if picture.kind in PENS:
            return with_pen(PENS[picture.kind], strokes)
        return photograph(picture.kind, strokes, seed(self.half, picture.character, picture.item))

    def collection(self, chosen: Sequence[Picture]) -> Collection:
        """Returns the pictures, as from folders of classes; without those that cannot be read."""
        collection = Collection()
        for picture in chosen:
            if (read := self.read(picture)) is not None:
                collection.files.append(
                    Path(f"{picture.kind}-{picture.character}-{picture.item}.jpg")
                )
                collection.pictures.append(read)
                collection.classes.append(str(picture.character))
        return collection


def measure(
    checkpoint: Checkpoint,
    pool: Pool,
    support: str,
    kind: str,
    size: tuple[int, int],
    draws: int,
    redraw: str = "auto",
) -> Found:
    """Classifies over draws; a query that cannot be read counts as wrong."""
    (ways, shots), right, every = size, [], []
    for number in range(draws):
        random = np.random.default_rng((number, ways, shots))
        classes = random.choice(CHARACTERS, ways, replace=False).tolist()
        few = [Picture(support, c, item) for c in classes for item in range(shots)]
        rest = [Picture(kind, c, 3 + item) for c in classes for item in range(QUERIES)]
        examples, queries = pool.collection(few), pool.collection(rest)
        if len(examples.names) < ways:
            raise SystemExit(f"{support}: a class has no readable picture")
        predictions = predict(checkpoint, examples, queries, redraw=redraw)
        right.append(predictions.correct / len(rest))
        every.append(predictions)
    known = checkpoint.certainty
    return _summary(Baseline(right), every, known.temperature if known else 1.0)


def _summary(right: Baseline, every: Sequence[Predictions], temperature: float) -> Found:
    entries = [entry for predictions in every for entry in predictions.entries]
    wrong = [entry for entry in entries if entry.label != entry.truth]
    sure = [entry.probability for entry in wrong]
    rows = torch.tensor([[*entry.probabilities.values()] for entry in entries])
    told = torch.tensor([entry.label == entry.truth for entry in entries])
    # The softmax of logits is that of logits divided by T to the power of T, once it sums to 1.
    plain = (temperature * rows.log()).softmax(dim=1)
    return Found(
        right,
        float(np.mean(sure)) if sure else 0.0,
        sum(value > SURE for value in sure) / len(entries),
        sum(bool(entry.doubt) or entry.unlike for entry in wrong) / max(1, len(wrong)),
        (calibration_error(plain.amax(1), told), calibration_error(rows.amax(1), told)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per kind, once with tidy support pictures and once with its own kind."""
    parser = argparse.ArgumentParser(prog="benchmarks.photographs", description=__doc__)
    parser.add_argument("--half", default="development", choices=["development", "test"])
    parser.add_argument("--draws", type=int, default=20, help="of each setting (20)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=[*KINDS, *PENS])
    parser.add_argument("--ways", nargs="+", type=int, default=[5, 10])
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--support", nargs="+", default=["tidy", "alike"],
                        choices=["tidy", "alike"])  # fmt: skip
    parser.add_argument("--redraw", default="auto", choices=["auto", "always", "never"])
    parser.add_argument("--weights", default=best_pretrained(), help="name or path")
    parser.add_argument("--out", type=Path, help="JSON file to write what was found to (none)")
    given = parser.parse_args(arguments)
    checkpoint, pool = find_weights(given.weights), Pool(given.half)
    sizes = list(product(given.ways, given.shots))
    header = ("queries", "support", *(f"{w}-way {s}-shot" for w, s in sizes))
    rows, body = [], {}
    for kind in given.kinds:
        for support in dict.fromkeys(TIDY if name == TIDY else kind for name in given.support):
            results = [
                measure(checkpoint, pool, support, kind, s, given.draws, given.redraw)
                for s in sizes
            ]
            rows.append((kind, support, *map(_cell, results)))
            body[f"{support}/{kind}"] = [[f.right.accuracy, f.right.ci95, *f[1:]] for f in results]
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(header, rows))
    print(
        "Accuracy; mean probability of the wrong; wrong and over 90 %; wrong and warned of; "
        "expected calibration error before and after the temperature."
    )
    if given.out:
        given.out.write_text(json.dumps(body, indent=1) + "\n")


def _cell(result: Found) -> str:
    accuracy = percent(result.right.accuracy, result.right.ci95)
    errors = "/".join(f"{error:.1%}" for error in result.calibration)
    shares = f"{result.sure_when_wrong:.0%}, {result.fooled:.1%}, {result.warned:.0%}"
    return f"{accuracy}; {shares}; {errors}"


if __name__ == "__main__":
    main()
