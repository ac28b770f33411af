"""The trials of a search: their random streams, what Optuna is told, what became of them."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.exceptions import TrialPruned
from optuna.trial import FrozenTrial, TrialState

from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.meta.trainer import StepResult

RUN, WHY = "run", "diverged"  # attributes of a trial
OWN_RUN = re.compile(r"trial-[0-9]{4,9}")


@dataclass(frozen=True)
class Tried:
    """A finished trial.

    Attributes:
        number: of the trial.
        accuracy: the best of its validations, in [0, 1]; 0 if it diverged.
        ended: finished, pruned or diverged.
        settings: those searched.
        run: its run folder's name.
        minutes: from its start to its end.
        why: the reason, if it diverged.
    """

    number: int
    accuracy: float
    ended: str
    settings: dict[str, Any]
    run: str
    minutes: float
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return asdict(self)


class TrialSampler(optuna.samplers.TPESampler):
    """TPE whose every trial has a random stream of its own, made from the seed and its number.

    So processes never draw the same, and one process alone draws the same again.
    """

    def __init__(self, seed: int) -> None:
        self._first = seed
        super().__init__(seed=0)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Starts the stream of a trial."""
        super().__init__(seed=derive_seed("tune", self._first, trial.number) % 2**32)
        super().before_trial(study, trial)


class Reporter:
    """Tells Optuna of the validations of a training, and ends it where Optuna prunes."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_step(self, result: StepResult) -> None:
        """Does nothing."""

    def on_log(self, row: MetricsRow) -> None:
        """Does nothing."""

    def on_validation(self, row: MetricsRow, best: bool) -> None:  # noqa: ARG002
        """Reports the validation."""
        self.report(row)
        if self._trial.should_prune():
            raise TrialPruned

    def report(self, row: MetricsRow) -> None:
        """Reports a validation, which counts 0 where its loss is not finite."""
        finite = math.isfinite(row.validation_loss)
        self._trial.report(row.validation_accuracy if finite else 0.0, row.iteration)


def outcome_of(trial: FrozenTrial) -> Tried:
    """Returns what became of a finished trial."""
    why = trial.user_attrs.get(WHY, "")
    ended = "pruned" if trial.state is TrialState.PRUNED else "diverged" if why else "finished"
    accuracies = [trial.value or 0.0, *([] if why else trial.intermediate_values.values())]
    minutes = trial.duration.total_seconds() / 60 if trial.duration else 0.0
    run = run_of(trial) if RUN in trial.user_attrs else ""
    return Tried(trial.number, max(accuracies), ended, trial.params, run, minutes, why)


def run_of(trial: FrozenTrial | optuna.Trial) -> str:
    """Returns the name of a trial's run folder.

    Raises:
        RunError: if the storage names one that is none of a study's.
    """
    name = trial.user_attrs.get(RUN, f"trial-{trial.number:04}")
    if not (isinstance(name, str) and OWN_RUN.fullmatch(name)):
        raise RunError(f"trial {trial.number} has run {name!r}; expected one such as 'trial-0001'")
    return name
