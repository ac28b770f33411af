"""Which characters a network gets wrong, and which it confuses with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import torch

from l2l_omniglot.data.tasks import Task

LEAST_TASKS = 2  # in which a character must occur to be among the hardest


class TaskPredictions(NamedTuple):
    """The predicted labels of one task's queries.

    Attributes:
        number: of the task.
        classes: as in `Task`.
        labels: the true label of each query image, in [0, ways).
        predictions: the predicted labels, by mode of batch normalisation.
    """

    number: int
    classes: tuple[int, ...]
    labels: list[int]
    predictions: dict[str, list[int]]

    def accuracy(self, mode: str) -> float:
        """Returns the fraction of queries that were predicted correctly, in [0, 1]."""
        pairs = zip(self.labels, self.predictions[mode], strict=True)
        return sum(label == predicted for label, predicted in pairs) / len(self.labels)


class QueryPredictions(list[TaskPredictions]):
    """All predictions of an evaluation; pass it to `evaluate` as `on_task`."""

    def __call__(self, number: int, task: Task, predictions: dict[str, torch.Tensor]) -> None:
        """Records the predictions for one task."""
        predicted = {mode: labels.tolist() for mode, labels in predictions.items()}
        self.append(TaskPredictions(number, task.classes, task.query_labels.tolist(), predicted))


@dataclass
class Character:
    """The results for queries of one class.

    Attributes:
        label: of the class, as `StackDataset.describe` takes it.
        correct, total: numbers of queries.
        tasks: number of tasks it was in.
        predicted_as: the other classes it was predicted as, with counts.
    """

    label: int
    correct: int = 0
    total: int = 0
    tasks: int = 0
    predicted_as: Counter[int] = field(default_factory=Counter)

    @property
    def accuracy(self) -> float:
        """Returns the fraction of its queries that were predicted correctly, in [0, 1]."""
        return self.correct / self.total


@dataclass
class Pair:
    """Two classes that were confused with each other.

    Attributes:
        labels: of both, the one that was mistaken more often first.
        mistaken: queries of the first predicted as the second, and of the second as the first.
        total: queries of either in tasks that had both.
        examples: (task number, query number) of the mistakes.
    """

    labels: tuple[int, int]
    mistaken: tuple[int, int]
    total: int
    examples: list[tuple[int, int]]


def hardest(predictions: Sequence[TaskPredictions], mode: str, count: int) -> list[Character]:
    """Finds the characters of lowest accuracy, of those in two tasks or more if one is wrong."""
    characters: dict[int, Character] = {}
    for task in predictions:
        for label in task.classes:
            characters.setdefault(label, Character(label)).tasks += 1
        for label, predicted in zip(task.labels, task.predictions[mode], strict=True):
            character = characters[task.classes[label]]
            character.total += 1
            if label == predicted:
                character.correct += 1
            else:
                character.predicted_as[task.classes[predicted]] += 1
    wrong = [entry for entry in characters.values() if entry.predicted_as]
    often = [entry for entry in wrong if entry.tasks >= LEAST_TASKS]
    chosen = often or wrong
    return sorted(chosen, key=lambda entry: (entry.accuracy, -entry.total, entry.label))[:count]


def confused(predictions: Sequence[TaskPredictions], mode: str, count: int) -> list[Pair]:
    """Finds the pairs of classes that were most often predicted as each other."""
    mistakes: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    total: Counter[frozenset[int]] = Counter()
    for task in predictions:
        sizes, classes = Counter(task.labels), task.classes
        for one, other in combinations(range(len(classes)), 2):
            total[frozenset((classes[one], classes[other]))] += sizes[one] + sizes[other]
        labels = zip(task.labels, task.predictions[mode], strict=True)
        for place, (label, predicted) in enumerate(labels):
            if label != predicted:
                mistakes[classes[label], classes[predicted]].append((task.number, place))
    pairs = []
    for both in {frozenset(key) for key in mistakes}:
        low, high = sorted(both)
        ways = sorted([(low, high), (high, low)], key=lambda key: -len(mistakes[key]))
        there, back = (mistakes[key] for key in ways)
        pairs.append(Pair(ways[0], (len(there), len(back)), total[both], there + back))
    return sorted(pairs, key=lambda pair: (-sum(pair.mistaken), pair.total, pair.labels))[:count]
