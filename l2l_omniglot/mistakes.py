"""Which characters a network gets wrong, and which it takes for each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from l2l_omniglot.tasks import Task

LEAST_TASKS = 2  # that a character must have been in, to be among the hardest


class Answer(NamedTuple):
    """What the queries of a task were taken for.

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

    def right(self, mode: str) -> float:
        """Part of the queries that were taken for what they are, in [0, 1]."""
        pairs = zip(self.labels, self.predictions[mode], strict=True)
        return sum(label == taken for label, taken in pairs) / len(self.labels)


class Answers(list[Answer]):
    """All answers of an evaluation: the listener to give to `evaluate`."""

    def __call__(self, number: int, task: Task, predictions: dict[str, torch.Tensor]) -> None:
        """Notes a task's answers."""
        found = {mode: labels.tolist() for mode, labels in predictions.items()}
        self.append(Answer(number, task.classes, task.query_labels.tolist(), found))


@dataclass
class Character:
    """How queries of one class did.

    Attributes:
        label: of the class, as `StackDataset.describe` takes it.
        right, asked: queries.
        tasks: that it was in.
        taken_for: the classes it was taken for, with how often.
    """

    label: int
    right: int = 0
    asked: int = 0
    tasks: int = 0
    taken_for: Counter[int] = field(default_factory=Counter)

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.asked


@dataclass
class Pair:
    """Two classes that were taken for each other.

    Attributes:
        labels: of the two, the one that was mistaken more often first.
        mistaken: queries of the one taken for the other, and the other way round.
        asked: queries of either in tasks that had both.
        examples: (task number, query number) of the mistakes.
    """

    labels: tuple[int, int]
    mistaken: tuple[int, int]
    asked: int
    examples: list[tuple[int, int]]


def hardest(answers: Sequence[Answer], mode: str, count: int) -> list[Character]:
    """The characters of lowest accuracy that were in two tasks or more; if none was, of all."""
    found: dict[int, Character] = {}
    for answer in answers:
        for label in answer.classes:
            found.setdefault(label, Character(label)).tasks += 1
        for label, taken in zip(answer.labels, answer.predictions[mode], strict=True):
            character = found[answer.classes[label]]
            character.asked += 1
            if label == taken:
                character.right += 1
            else:
                character.taken_for[answer.classes[taken]] += 1
    often = [entry for entry in found.values() if entry.tasks >= LEAST_TASKS]
    wrong = [entry for entry in often or found.values() if entry.taken_for]
    return sorted(wrong, key=lambda entry: (entry.accuracy, -entry.asked, entry.label))[:count]


def confused(answers: Sequence[Answer], mode: str, count: int) -> list[Pair]:
    """The pairs with most mistakes, either taken for the other."""
    mistakes: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    asked: Counter[tuple[int, int]] = Counter()
    for answer in answers:
        sizes = Counter(answer.labels)
        classes = answer.classes
        for one, label in enumerate(classes):
            for other in range(one + 1, len(classes)):
                key = min(label, classes[other]), max(label, classes[other])
                asked[key] += sizes[one] + sizes[other]
        for place, (label, taken) in enumerate(
            zip(answer.labels, answer.predictions[mode], strict=True)
        ):
            if label != taken:
                mistakes[classes[label], classes[taken]].append((answer.number, place))
    return _pairs(mistakes, asked)[:count]


def _pairs(
    mistakes: dict[tuple[int, int], list[tuple[int, int]]], asked: Counter[tuple[int, int]]
) -> list[Pair]:
    """Both directions together, most mistakes first."""
    pairs = []
    for one, other in {(min(key), max(key)) for key in mistakes}:
        there, back = mistakes.get((one, other), []), mistakes.get((other, one), [])
        labels = (one, other) if len(there) >= len(back) else (other, one)
        counts = sorted((len(there), len(back)), reverse=True)
        examples = there + back if len(there) >= len(back) else back + there
        pairs.append(Pair(labels, (counts[0], counts[1]), asked[one, other], examples))
    return sorted(pairs, key=lambda pair: (-sum(pair.mistaken), pair.asked, pair.labels))
