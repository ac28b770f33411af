"""Which characters a network gets wrong, and which it confuses with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from l2l_omniglot.data.tasks import Task

LEAST_TASKS = 2  # that a character must have been in, to be among the hardest


class TaskPredictions(NamedTuple):
    """What the queries of a task were predicted as.

    Attributes:
        number: of the task.
        classes: as in `Task`.
        labels: of each query image, in [0, ways).
        predictions: of each query image, by mode of batch normalisation.
    """

    number: int
    classes: tuple[int, ...]
    labels: list[int]
    predictions: dict[str, list[int]]

    def accuracy(self, mode: str) -> float:
        """Gives the part of the queries that were predicted correctly, in [0, 1]."""
        pairs = zip(self.labels, self.predictions[mode], strict=True)
        return sum(label == predicted for label, predicted in pairs) / len(self.labels)


class QueryPredictions(list[TaskPredictions]):
    """All predictions of an evaluation: give it to `evaluate` as `on_task`."""

    def __call__(self, number: int, task: Task, predictions: dict[str, torch.Tensor]) -> None:
        """Notes those of a task."""
        found = {mode: labels.tolist() for mode, labels in predictions.items()}
        self.append(TaskPredictions(number, task.classes, task.query_labels.tolist(), found))


@dataclass
class Character:
    """How queries of one class did.

    Attributes:
        label: of the class, as `StackDataset.describe` takes it.
        correct, total: queries.
        tasks: that it was in.
        predicted_as: the other classes it was predicted as, with how often.
    """

    label: int
    correct: int = 0
    total: int = 0
    tasks: int = 0
    predicted_as: Counter[int] = field(default_factory=Counter)

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.correct / self.total


@dataclass
class Pair:
    """Two classes that were confused with each other.

    Attributes:
        labels: of the two, the one that was mistaken more often first.
        mistaken: queries of the one predicted as the other, and the other way round.
        total: queries of either in tasks that had both.
        examples: (task number, query number) of the mistakes.
    """

    labels: tuple[int, int]
    mistaken: tuple[int, int]
    total: int
    examples: list[tuple[int, int]]


def hardest(predictions: Sequence[TaskPredictions], mode: str, count: int) -> list[Character]:
    """Finds the characters of lowest accuracy in two tasks or more; if none was, of all."""
    found: dict[int, Character] = {}
    for task in predictions:
        for label in task.classes:
            found.setdefault(label, Character(label)).tasks += 1
        for label, predicted in zip(task.labels, task.predictions[mode], strict=True):
            character = found[task.classes[label]]
            character.total += 1
            if label == predicted:
                character.correct += 1
            else:
                character.predicted_as[task.classes[predicted]] += 1
    often = [entry for entry in found.values() if entry.tasks >= LEAST_TASKS]
    wrong = [entry for entry in often or found.values() if entry.predicted_as]
    return sorted(wrong, key=lambda entry: (entry.accuracy, -entry.total, entry.label))[:count]


def confused(predictions: Sequence[TaskPredictions], mode: str, count: int) -> list[Pair]:
    """Finds the pairs with most mistakes, either predicted as the other."""
    mistakes: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    total: Counter[tuple[int, int]] = Counter()
    for task in predictions:
        sizes = Counter(task.labels)
        classes = task.classes
        for one, label in enumerate(classes):
            for other in range(one + 1, len(classes)):
                key = min(label, classes[other]), max(label, classes[other])
                total[key] += sizes[one] + sizes[other]
        for place, (label, predicted) in enumerate(
            zip(task.labels, task.predictions[mode], strict=True)
        ):
            if label != predicted:
                mistakes[classes[label], classes[predicted]].append((task.number, place))
    return _pairs(mistakes, total)[:count]


def _pairs(
    mistakes: dict[tuple[int, int], list[tuple[int, int]]], total: Counter[tuple[int, int]]
) -> list[Pair]:
    """Puts both directions together, most mistakes first."""
    pairs = []
    for one, other in {(min(key), max(key)) for key in mistakes}:
        there, back = mistakes.get((one, other), []), mistakes.get((other, one), [])
        labels = (one, other) if len(there) >= len(back) else (other, one)
        counts = sorted((len(there), len(back)), reverse=True)
        examples = there + back if len(there) >= len(back) else back + there
        pairs.append(Pair(labels, (counts[0], counts[1]), total[one, other], examples))
    return sorted(pairs, key=lambda pair: (-sum(pair.mistaken), pair.total, pair.labels))
