"""Measures how sure pretrained weights are, and keeps it in their file: python -m tools.calibrate.

On validation tasks of several numbers of ways and shots, with one query of each class; test classes
choose nothing. See `l2l_omniglot.experiments.certainty`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.files import sha256
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.experiments.card import MODEL
from l2l_omniglot.experiments.certainty import Certainty
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.weights import FOLDER, list_pretrained, load_pretrained_checkpoint

SETTINGS = tuple(product((2, 5, 10, 20), (1, 5)))  # ways, shots
TASKS = 30  # of each setting
KNOWN = 0.985  # share of the queries classified right that are known as their class's
SEED = 0


class Found(NamedTuple):
    """Of the queries of one task: logits (B, ways), labels (B,), distances (B,) / (1 + 1/shots).

    Distances are those of the queries that are classified right.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    distances: torch.Tensor


def main() -> None:
    """Runs the tool."""
    names = [card.name for card in list_pretrained()]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of weights (all)")
    for name in parser.parse_args().names or names:
        checkpoint = replace(load_pretrained_checkpoint(name), certainty=None)
        certainty = measure(checkpoint)
        keep(name, replace(checkpoint, certainty=certainty))
        print(f"{name}: {certainty}", flush=True)


def measure(checkpoint: Checkpoint, part: str = "validation") -> Certainty:
    """Finds the temperature of least cross-entropy, and the distance that most queries keep."""
    found = [task for size in SETTINGS for task in queries(checkpoint, *size, part)]

    def loss(log: float) -> float:
        losses = [cross_entropy(task.logits / np.exp(log), task.labels) for task in found]
        return float(torch.stack(losses).mean())

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    distances = torch.cat([task.distances for task in found])
    return Certainty(float(np.exp(best.x)), float(torch.quantile(distances, KNOWN)))


def queries(
    checkpoint: Checkpoint, ways: int, shots: int, part: str, tasks: int = TASKS
) -> Iterator[Found]:
    """Classifies one query of each class, task by task."""
    stack = open_data(checkpoint.settings)
    experiment = Experiment.load(checkpoint, stack, ways=ways)
    stream = experiment.tasks(part, shots=shots, queries=1, seed=SEED)
    for number in range(tasks):
        task = stream[number]
        classifier = Classifier(checkpoint, task.support, task.support_labels, ways)
        distances = classifier.distances(task.query).gather(1, task.query_labels[:, None])[:, 0]
        logits = classifier.logits(task.query)
        right = logits.argmax(dim=1) == task.query_labels
        yield Found(logits, task.query_labels, distances[right] / (1 + 1 / shots))


def keep(name: str, checkpoint: Checkpoint, folder: Path = FOLDER) -> None:
    """Writes the weights again, and their digest into their card."""
    path = folder / name / MODEL
    checkpoint.save(path)
    (card,) = (card for card in list_pretrained(folder) if card.name == name)
    replace(card, sha256=sha256(path)).save(folder)


if __name__ == "__main__":
    main()
