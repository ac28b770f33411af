"""Measures on test tasks how honest probabilities are, and what is said to be of no class.

The expected calibration error is that of Guo et al. (2017), with 15 bins of equal width, before and
after dividing by the temperature. Own: queries that are classified right. Other: queries of the
next task, of other classes. Nothings: solid squares, noise, empty boards and bare tables, prepared
as `predict` prepares pictures; what it refuses as blank counts as rejected.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.pictures import as_picture
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import DataError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.weights import find_weights, pretrained_names
from l2l_omniglot.meta.baselines import Baseline
from tools.calibrate import strangers
from tools.photographs import NOTHINGS, nothing

SETTINGS = ((5, 1), (5, 5), (20, 1))  # ways, shots
QUERIES, BINS, SEED = 5, 15, 0
EACH = 20  # pictures of each kind of nothing
HEADER = ("weights", "setting", "ECE before", "ECE after", "own, right", "other", *NOTHINGS)


class Rates(NamedTuple):
    """Shares of the images of one task that are said to be of no class."""

    own: float
    other: float
    nothings: tuple[float, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per weights and setting."""
    parser = argparse.ArgumentParser(prog="benchmarks.certainty", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100, help="test tasks of each setting (100)")
    parser.add_argument("--weights", nargs="+", default=pretrained_names(), help="names")
    given = parser.parse_args(arguments)
    rows = []
    for name in given.weights:
        for ways, shots in SETTINGS:
            rows.append(
                (name, f"{ways}-way {shots}-shot", *measure(name, ways, shots, given.tasks))
            )
            print("  ".join(rows[-1]), flush=True)
    print(table(HEADER, rows))


def measure(name: str, ways: int, shots: int, tasks: int) -> list[str]:
    """Returns the figures of one setting."""
    checkpoint = find_weights(name)
    experiment = Experiment.load(checkpoint, open_data(checkpoint.settings), ways=ways)
    stream = experiment.tasks("test", shots=shots, queries=QUERIES, seed=SEED)
    logits, labels, rates = [], [], []
    for number in range(tasks):
        classifier, rate = _classify(checkpoint, stream, number)
        logits.append(classifier.logits(stream[number].query) * classifier.temperature)
        labels.append(stream[number].query_labels)
        rates.append(rate)
    every, truth = torch.cat(logits), torch.cat(labels)
    errors = [
        calibration_error((every / t).softmax(dim=1).amax(dim=1), every.argmax(dim=1) == truth)
        for t in (1.0, classifier.temperature)
    ]
    columns = zip(*((rate.own, rate.other, *rate.nothings) for rate in rates), strict=True)
    shares = [Baseline(list(column)) for column in columns]
    return [*map(percent, errors), *(percent(share.accuracy, share.ci95) for share in shares)]


def _classify(checkpoint: Checkpoint, stream: Tasks, number: int) -> tuple[Classifier, Rates]:
    task, following = stream[number], stream[number + 1]
    classifier = Classifier(checkpoint, task.support, task.support_labels, stream.ways)
    right = classifier.logits(task.query).argmax(dim=1) == task.query_labels
    right_share, new_share = (
        classifier.none_of_these(images).float().mean().item()
        for images in (task.query[right], strangers(task, following))
    )
    pictures = (nothings(Preparation.of(checkpoint), kind) for kind in NOTHINGS)
    told = (1 - (~classifier.none_of_these(images)).sum().item() / EACH for images in pictures)
    return classifier, Rates(right_share, new_share, tuple(told))


@cache
def nothings(preparation: Preparation, kind: str) -> torch.Tensor:
    """Returns images of nothing, at most `EACH`: without those that are refused as blank."""
    drawings = []
    for number in range(EACH):
        try:
            drawings.append(as_picture(nothing(kind, number), kind))
        except DataError:
            continue
    size = preparation.channels, preparation.size, preparation.size
    return preparation.images(drawings) if drawings else torch.zeros(0, *size)


def calibration_error(sure: torch.Tensor, right: torch.Tensor) -> float:
    """Returns the expected calibration error, in [0, 1].

    Args:
        sure: float (B,), the probability of each prediction.
        right: bool (B,), whether it is right.
    """
    bins = (sure * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=sure.dtype).index_add(0, bins, right.to(sure.dtype) - sure)
    return float(gaps.abs().sum() / len(sure))


if __name__ == "__main__":
    main()
