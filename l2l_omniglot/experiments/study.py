"""A search over settings, which any number of processes share, by Optuna."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import TrialState

from l2l_omniglot.errors import RunError, SettingsError, TrainingError, refused
from l2l_omniglot.experiments.claims import Claims
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.learners import load_resized
from l2l_omniglot.experiments.reproduce import Stopped
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.search import Dimension
from l2l_omniglot.experiments.settings import Settings, make_settings
from l2l_omniglot.experiments.storage import (
    GRACE,
    is_database,
    open_storage,
    silenced,
    storage_errors,
)
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.experiments.trials import (
    RUN,
    WHY,
    Reporter,
    TrialSampler,
    Tried,
    outcome_of,
    run_of,
)
from l2l_omniglot.experiments.weights import find_weights

log = logging.getLogger(__name__)

POLL = 0.5  # seconds, between two looks at what other processes do
SILENT = 4  # looks before it is told
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
ASKED = "asked"  # attribute of the study


class _Surplus(Exception):  # noqa: N818 - no error
    """Another machine has begun the last trial at the same time."""


class Study:
    """A search that goes on wherever it was left, in one process or many.

    A trial is pruned if, at a validation, its best accuracy so far is below the median of the
    earlier trials' there: the median needs no plan of lengths, as Hyperband does.

    Args:
        name: of the study, also of its run folders' folder.
        storage: URL of a database, or path of a journal file.
        folder: for the run folders.
        search: what is tried.
        fixed: the other settings, as for `make_settings`.
        build: builds the experiment of some settings.

    Raises:
        L2LOmniglotError: if the first or last values of the search cannot be built, the storage
            cannot be opened, or the study in it tries something else.
    """

    def __init__(
        self,
        name: str,
        storage: str,
        folder: Path,
        search: list[Dimension],
        fixed: dict[str, Any],
        build: Callable[[Settings], Experiment],
    ) -> None:
        if not NAME.fullmatch(name):
            raise refused("study", name, "expected letters, digits, '_', '-' and '.' only")
        self.folder, self._search, self._fixed, self._build = folder, search, fixed, build
        for end in (0, -1):  # refused now, not after hours of training
            _check(build(self.settings({each.name: each.ends[end] for each in search})))
        self._retry = silenced(lambda: RetryHeartbeatStaleTrialCallback(max_retry=1))
        opened, self._storage = open_storage(storage, self._retry), storage
        self._claims = None if is_database(storage) else Claims(Path(f"{storage}.locks"), name)
        with storage_errors(storage), self._turn():
            self._study = optuna.create_study(
                study_name=name,
                storage=opened,
                load_if_exists=True,
                direction="maximize",
                sampler=TrialSampler(fixed.get("seed", Settings.seed)),
                pruner=optuna.pruners.MedianPruner(),
            )
            self._check_same()

    def settings(self, tried: dict[str, Any]) -> Settings:
        """Returns the settings of a trial."""
        return make_settings(**{**self._fixed, **tried})

    def run(
        self, count: int, stop: Callable[[], bool], on_trial: Callable[[Tried, int], None]
    ) -> None:
        """Trains until so many trials of the study are finished, by whichever process.

        Args:
            count: of trials.
            stop: returns whether a stop was requested.
            on_trial: called after each of this process's trials, with the number finished so far.

        Raises:
            Stopped: if a stop was requested; the trial at hand waits for the next process.
        """
        waited = 0
        with storage_errors(self._storage):
            while len(self._numbers(FINISHED)) < count:
                if stop():
                    raise Stopped
                if self._try_next(count, stop, on_trial):
                    continue
                waited += 1
                if waited == SILENT:
                    log.info("Waiting for trials of other processes.")
                time.sleep(POLL)

    def results(self) -> list[Tried]:
        """Returns all finished trials, the best first."""
        with storage_errors(self._storage):
            trials = self._study.get_trials(deepcopy=False, states=FINISHED)
        return sorted(map(outcome_of, trials), key=lambda trial: (-trial.accuracy, trial.number))

    def best(self) -> Tried:
        """Returns the best trial that was trained to its end.

        Raises:
            TrainingError: if all have diverged.
        """
        whole = [trial for trial in self.results() if trial.ended == "finished"]
        if not whole:
            raise TrainingError(
                "no trial was trained to its end; expected smaller learning rates in --search"
            )
        return whole[0]

    @contextmanager
    def _turn(self, wait: bool = True) -> Iterator[bool]:
        """Has the turn inside the block, and yields whether; a database needs none."""
        while not (taken := self._claims is None or self._claims.take_turn()) and wait:
            time.sleep(POLL)
        try:
            yield taken
        finally:
            if taken and self._claims:
                self._claims.end_turn()

    def _check_same(self) -> None:
        """Notes what the study tries, or refuses to mix it with something else."""
        if self._study.direction is not StudyDirection.MAXIMIZE:
            raise RunError(
                f"study {self._study.study_name}: minimises; expected one that maximises"
            )
        for trial in self._study.get_trials(deepcopy=False):
            run_of(trial)
        asked = {**self._fixed, "search": " ".join(sorted(each.text for each in self._search))}
        before = self._study.user_attrs.get(ASKED)
        if before is None:
            self._study.set_user_attr(ASKED, asked)
            return
        for name in [*before, *asked]:
            theirs, ours = (values.get(name, "not given") for values in (before, asked))
            if theirs != ours:
                raise RunError(
                    f"study {self._study.study_name} has trials with {name} {theirs!r}, here it is "
                    f"{ours!r}; expected the same, or another --study"
                )

    def _numbers(self, states: tuple[TrialState, ...]) -> list[int]:
        trials = self._study.get_trials(deepcopy=False, states=states)
        return [trial.number for trial in trials]

    def _try_next(
        self, count: int, stop: Callable[[], bool], on_trial: Callable[[Tried, int], None]
    ) -> bool:
        """Trains the next trial; returns whether there was one for this process."""
        with self._turn(wait=False) as taken:
            if not taken:
                return False
            self._give_back_dead()
            if len(self._numbers((*FINISHED, TrialState.RUNNING))) >= count:
                return False
            try:
                number = self._optimize(count, stop)
            finally:
                if self._claims:
                    self._claims.release()
        done = None if number is None else self._study.get_trials(deepcopy=False)[number]
        if done and done.state in FINISHED:
            on_trial(outcome_of(done), len(self._numbers(FINISHED)))
        return True

    def _give_back_dead(self) -> None:
        """Lets the trials of processes that were killed be tried again, once each."""
        if self._claims is None:
            silenced(lambda: fail_stale_trials(self._study))
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._claims is None:  # killed before its first heartbeat
                started = trial.datetime_start.timestamp() if trial.datetime_start else 0
                dead = RUN not in trial.user_attrs and time.time() - started > GRACE
            else:
                dead = self._claims.is_dead(trial.number)
            # It may have finished since it was listed.
            if dead and trial.number in self._numbers((TrialState.RUNNING,)):
                failed = self._study.tell(trial.number, state=TrialState.FAIL)
                if self._claims is not None:
                    self._retry(self._study, failed)

    def _optimize(self, count: int, stop: Callable[[], bool]) -> int | None:
        """Has Optuna choose a trial and trains it; returns its number, None if it was not done."""
        chosen: list[optuna.Trial] = []

        def objective(trial: optuna.Trial) -> float:
            chosen.append(trial)
            if self._claims:
                self._claims.hold(trial.number)
                self._claims.end_turn()
            earlier = self._numbers((*FINISHED, TrialState.RUNNING))
            if sum(number < trial.number for number in earlier) >= count:
                raise _Surplus
            return self._train(trial, stop)

        try:
            self._study.optimize(objective, n_trials=1, catch=(_Surplus,))
        except Stopped:
            (trial,) = chosen
            self._study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
            raise
        except (UpdateFinishedTrialError, ValueError) as error:
            # It was silent for so long that others took it for dead; theirs counts.
            late = isinstance(error, UpdateFinishedTrialError) or "Cannot tell a" in str(error)
            if not late:
                raise
            return None
        return chosen[0].number

    def _train(self, trial: optuna.Trial, stop: Callable[[], bool]) -> float:
        """Trains a trial; returns its best validation accuracy, 0 if it diverged."""
        tried = {dimension.name: dimension.suggest(trial) for dimension in self._search}
        try:
            run = self._begin(self.settings(tried), trial)
            outcome = run.train(None, stop)
        except (TrainingError, SettingsError) as error:
            trial.set_user_attr(WHY, str(error))
            return 0.0
        if outcome.reason == "stopped":
            raise Stopped
        assert outcome.best is not None  # or it has diverged
        return outcome.best

    def _begin(self, settings: Settings, trial: optuna.Trial) -> TrainingRun:
        """Begins the run of a trial, or goes on with that of a process that was killed."""
        trial_name, reporter = f"trial-{trial.number:04}", Reporter(trial)
        name = run_of(trial)
        folder = RunFolder(self.folder / name)
        trial.set_user_attr(RUN, name)
        resume = folder.config.exists()
        if resume and folder.read_settings() != settings:
            raise RunError(f"{folder.path}: holds a run with other settings; expected another")
        run = TrainingRun(self._build(settings), folder, reporter)
        try:
            run.begin(resume=resume)
        except RunError:  # broken, or the other process is alive after all
            if name == trial_name:
                raise
            trial.set_user_attr(RUN, trial_name)
            run = TrainingRun(self._build(settings), RunFolder(self.folder / trial_name), reporter)
            run.begin(resume=False)
        for row in run.rows:
            if row.validated:
                reporter.report(row)
        return run


def _check(experiment: Experiment) -> None:
    """Refuses an experiment that could not be trained and validated."""
    experiment.tasks("validation")
    if experiment.settings.start_from:
        checkpoint = find_weights(experiment.settings.start_from)
        experiment.check_start(checkpoint)
        load_resized(experiment.learner, checkpoint)
