"""Measures `predict` on photographs of invented characters, by kind of photograph.

The support pictures are tidy drawings, or photographs of the same kind as the queries. A draw takes
characters at random, and of each its support pictures and two queries. Fractions are accuracies
with their intervals over characters: Wilson's over the queries would take those of a character for
independent.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.data.picture_folders import Collection
from l2l_omniglot.data.pictures import read_picture
from l2l_omniglot.errors import DataError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.weights import best_pretrained, find_weights
from l2l_omniglot.meta.baselines import Baseline
from tools.photographs import KINDS, Drawing, drawings, photograph, seed

CHARACTERS, QUERIES = 40, 2  # of a half; of each character in a draw
SETTINGS = tuple(product((5, 10), (1, 3)))  # ways, shots
TIDY = "tidy"


class Picture(NamedTuple):
    """Which photograph: of its half, kind, character and item."""

    kind: str
    character: int
    item: int


class Pool:
    """The photographs of one half, read as `predict` reads files; what cannot be read is None."""

    def __init__(self, half: str) -> None:
        self.half = half
        self._drawings: list[list[Drawing]] = drawings(half, CHARACTERS, 3 + QUERIES)
        self.read = cache(self._read)

    def _read(self, picture: Picture) -> Image.Image | None:
        drawing = self._drawings[picture.character][picture.item]
        taken = photograph(picture.kind, drawing, seed(self.half, picture.character, picture.item))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "taken.png"
            taken.save(path)
            try:
                return read_picture(path)
            except DataError:
                return None

    def collection(self, chosen: Sequence[Picture]) -> Collection:
        """The pictures, as from folders of classes; without those that cannot be read."""
        found = Collection()
        for picture in chosen:
            if (read := self.read(picture)) is not None:
                found.files.append(Path(f"{picture.kind}-{picture.character}-{picture.item}.jpg"))
                found.pictures.append(read)
                found.classes.append(str(picture.character))
        return found


def accuracy(
    checkpoint: Checkpoint, pool: Pool, support: str, kind: str, size: tuple[int, int], draws: int
) -> Baseline:
    """Accuracy over draws; a query that cannot be read counts as wrong."""
    (ways, shots), found = size, []
    for number in range(draws):
        random = np.random.default_rng((number, ways, shots))
        classes = random.choice(CHARACTERS, ways, replace=False).tolist()
        few = [Picture(support, c, item) for c in classes for item in range(shots)]
        rest = [Picture(kind, c, 3 + item) for c in classes for item in range(QUERIES)]
        examples, queries = pool.collection(few), pool.collection(rest)
        if len(examples.names) < ways:
            raise SystemExit(f"{support}: a class has no readable picture")
        found.append(predict(checkpoint, examples, queries).correct / len(rest))
    return Baseline(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per kind, once with tidy support pictures and once with its own kind."""
    parser = argparse.ArgumentParser(prog="benchmarks.photographs", description=__doc__)
    parser.add_argument("--half", default="development", choices=["development", "test"])
    parser.add_argument("--draws", type=int, default=10, help="of each setting (10)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--ways", nargs="+", type=int, default=[5, 10])
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--out", type=Path, help="JSON file to write the accuracies to (none)")
    given = parser.parse_args(arguments)
    checkpoint, pool = find_weights(best_pretrained()), Pool(given.half)
    sizes = list(product(given.ways, given.shots))
    rows, body = [], {}
    for kind in given.kinds:
        for support in dict.fromkeys([TIDY, kind]):
            found = [accuracy(checkpoint, pool, support, kind, s, given.draws) for s in sizes]
            rows.append((kind, support, *(percent(f.accuracy, f.ci95) for f in found)))
            body[f"{support}/{kind}"] = [[f.accuracy, f.ci95] for f in found]
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(("queries", "support", *(f"{w}-way {s}-shot" for w, s in sizes)), rows))
    if given.out:
        given.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
