"""Runs and other weights that are reported on side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from l2l_omniglot.evaluation import Curve, Evaluation, half_width, mean
from l2l_omniglot.experiment import Experiment
from l2l_omniglot.history import History
from l2l_omniglot.mistakes import Answer, Answers
from l2l_omniglot.settings import Settings
from l2l_omniglot.tasks import Tasks


@dataclass(frozen=True)
class Subject:
    """A run, or other weights, as evaluated for the report.

    Attributes:
        name: unlike that of every other subject.
        source: as the command line named it.
        history: how the weights came about.
        settings: that the weights were trained with.
        experiment: that they were evaluated in, maybe on other data.
        facts: of the checkpoint, see `Checkpoint`.
        iteration: meta-updates behind the weights.
        tasks: that it was evaluated on.
        evaluation: what they gave.
        answers: what their queries were taken for.
        notes: in what data and split differ from those of the training.
    """

    name: str
    source: str
    history: History
    settings: Settings
    experiment: Experiment
    facts: dict[str, Any]
    iteration: int
    tasks: Tasks
    evaluation: Evaluation
    answers: Answers
    notes: tuple[str, ...] = ()

    @property
    def stream(self) -> tuple[Any, ...]:
        """Equal where two subjects are evaluated on the same tasks."""
        tasks, data = self.tasks, self.tasks.dataset
        sizes = tasks.ways, tasks.shots, tasks.queries, tasks.seed, tasks.name
        return data.stack.sha256, data.classes, len(data), sizes

    def differences(self, other: Subject) -> dict[str, tuple[float, float]] | None:
        """By mode, how much better than the other it is, and the interval's half width.

        None where their tasks are not the same.
        """
        if self.stream != other.stream:
            return None
        curves = other.evaluation.curves
        return {
            mode: _difference(curve, curves[mode]) for mode, curve in self.evaluation.curves.items()
        }

    def samples(self, count: int) -> list[Answer]:
        """The first tasks, and last the one with most mistakes."""
        chosen = list(self.answers[: max(0, count - 1)])
        mode = self.evaluation.batch_norm
        rest = [answer for answer in self.answers if answer not in chosen]
        worst = min(rest, key=lambda answer: answer.right(mode), default=None)
        return [*chosen, *([worst] if worst and count else [])]


def _difference(own: Curve, other: Curve) -> tuple[float, float]:
    pairs = zip(own.accuracy_per_task, other.accuracy_per_task, strict=True)
    values = [one - two for one, two in pairs]
    return mean(values), half_width(values)


def unlike(names: Sequence[str]) -> list[str]:
    """The names, later ones that stand there already with their number behind them."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        found.append(f"{name} ({number})" if name in found else name)
    return found


def renamed(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, each with a name of its own."""
    names = unlike([subject.name for subject in subjects])
    pairs = zip(subjects, names, strict=True)
    return [dataclasses.replace(subject, name=name) for subject, name in pairs]
