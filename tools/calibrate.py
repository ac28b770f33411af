"""Measures how sure pretrained weights are, and keeps it in their file: python -m tools.calibrate.

On validation tasks of several numbers of ways and shots; test classes choose nothing. See
`l2l_omniglot.experiments.certainty`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.files import sha256
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.experiments.card import MODEL
from l2l_omniglot.experiments.certainty import SHOTS, WAYS, Certainty
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.weights import FOLDER, list_pretrained, load_pretrained_checkpoint

CLASSES = 800  # that the tasks of each setting have in all
QUERIES = 5
# The least and the largest share of the queries classified right that are known as their class's:
# the more, the farther those of other classes are, of which `STRANGERS` are to be told.
KNOWN = 0.985, 0.992
STRANGERS = 0.55
SEED = 0


class Found(NamedTuple):
    """Of the queries of one task: logits (B, ways), labels (B,), distances (B,) / (1 + 1/shots).

    The distances are those of the queries that are classified right, from their classes. Those of
    strangers are of the next task's queries of other classes, from the nearest class.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    distances: torch.Tensor
    strangers: torch.Tensor


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
    by_size = {
        (ways, shots): [*queries(checkpoint, ways, shots, part)] for ways in WAYS for shots in SHOTS
    }

    def loss(log: float) -> float:
        means = [
            torch.stack([cross_entropy(task.logits / np.exp(log), task.labels) for task in tasks])
            for tasks in by_size.values()
        ]
        return float(torch.stack([losses.mean() for losses in means]).mean())

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    farthest = {}
    for size, tasks in by_size.items():
        least, most = torch.cat([task.distances for task in tasks]).quantile(torch.tensor(KNOWN))
        other = torch.cat([task.strangers for task in tasks]).quantile(1 - STRANGERS)
        farthest[size] = float(other.clamp(least, most))
    distances = tuple(tuple(farthest[ways, shots] for shots in SHOTS) for ways in WAYS)
    return Certainty(float(np.exp(best.x)), distances)


def queries(
    checkpoint: Checkpoint, ways: int, shots: int, part: str, classes: int = CLASSES
) -> Iterator[Found]:
    """Classifies the queries of tasks with so many classes in all, task by task."""
    stack = open_data(checkpoint.settings)
    experiment = Experiment.load(checkpoint, stack, ways=ways)
    stream = experiment.tasks(part, shots=shots, queries=QUERIES, seed=SEED)
    for number in range(classes // ways):
        task, following = stream[number], stream[number + 1]
        classifier = Classifier(checkpoint, task.support, task.support_labels, ways)
        distances = classifier.distances(task.query).gather(1, task.query_labels[:, None])[:, 0]
        logits = classifier.logits(task.query)
        right = logits.argmax(dim=1) == task.query_labels
        others = classifier.distances(strangers(task, following)).amin(dim=1)
        scale = 1 + 1 / shots
        yield Found(logits, task.query_labels, distances[right] / scale, others / scale)


def strangers(task: Task, other: Task) -> torch.Tensor:
    """Returns the queries (B, C, H, W) of another task that are of no class of this one."""
    theirs = torch.tensor(other.classes)[other.query_labels]
    return other.query[~torch.isin(theirs, torch.tensor(task.classes))]


def keep(name: str, checkpoint: Checkpoint, folder: Path = FOLDER) -> None:
    """Writes the weights again, and their digest into their card."""
    path = folder / name / MODEL
    checkpoint.save(path)
    (card,) = (card for card in list_pretrained(folder) if card.name == name)
    replace(card, sha256=sha256(path)).save(folder)


if __name__ == "__main__":
    main()
