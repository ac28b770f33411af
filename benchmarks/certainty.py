"""Measures on test tasks how honest probabilities are, and what is told to be of no class.

The expected calibration error is that of Guo et al. (2017), with 15 bins of equal width, before and
after dividing by the temperature. Queries of other classes are those of the next task. Blobs are a
large and a small solid square, noise, sparse noise, a ramp and a half-black picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import torch

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment, open_data
from l2l_omniglot.experiments.weights import find_weights, pretrained_names
from l2l_omniglot.meta.baselines import Baseline

SETTINGS = ((5, 1), (5, 5), (20, 1))  # ways, shots
QUERIES, BINS, SEED = 5, 15, 0
HEADER = ("weights", "setting", "ECE before", "ECE after", "own", "other classes", "blobs")


class Rates(NamedTuple):
    """Shares of the images of one task that are told to be of no class."""

    own: float
    other: float
    blobs: float


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
        classifier, found = _classify(checkpoint, stream, number)
        logits.append(classifier.logits(stream[number].query) * classifier.temperature)
        labels.append(stream[number].query_labels)
        rates.append(found)
    every, truth = torch.cat(logits), torch.cat(labels)
    errors = [
        calibration_error((every / t).softmax(dim=1), truth) for t in (1.0, classifier.temperature)
    ]
    shares = [Baseline([float(value) for value in column]) for column in zip(*rates, strict=True)]
    return [*map(percent, errors), *(percent(share.accuracy, share.ci95) for share in shares)]


def _classify(checkpoint: Checkpoint, stream: Tasks, number: int) -> tuple[Classifier, Rates]:
    task, following = stream[number], stream[number + 1]
    classifier = Classifier(checkpoint, task.support, task.support_labels, stream.ways)
    mine = torch.tensor(following.classes)[following.query_labels]
    new = ~torch.isin(mine, torch.tensor(task.classes))
    sets = task.query, following.query[new], blobs(task.query.shape[-1])
    return classifier, Rates(*(classifier.none_of_these(s).float().mean().item() for s in sets))


def calibration_error(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Returns the expected calibration error, in [0, 1], of probabilities (B, ways)."""
    sure, predicted = probabilities.max(dim=1)
    right = (predicted == labels).float()
    bins = (sure * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).index_add(0, bins, right - sure)
    return float(gaps.abs().sum() / len(labels))


def blobs(side: int) -> torch.Tensor:
    """Returns images of nothing: (6, 1, side, side) in [0, 1], ink 1."""
    generator = torch.Generator().manual_seed(SEED)
    found = torch.zeros(6, 1, side, side)
    found[0, :, side // 5 : -side // 5, side // 5 : -side // 5] = 1
    found[1, :, side // 3 : -side // 3, side // 3 : -side // 3] = 1
    found[2] = torch.rand(1, side, side, generator=generator)
    found[3] = (torch.rand(1, side, side, generator=generator) > 0.8).float()
    found[4] = torch.linspace(0, 1, side)
    found[5, :, :, : side // 2] = 1
    return found


if __name__ == "__main__":
    main()
