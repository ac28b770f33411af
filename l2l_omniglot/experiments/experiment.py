"""An experiment: settings turned into data, splits, task streams, learner and trainer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from l2l_omniglot.backbones import MEASURED
from l2l_omniglot.data import ALL, COUNTED, PARTS
from l2l_omniglot.data.splits import Splits, make_splits
from l2l_omniglot.data.stack import Stack
from l2l_omniglot.data.tasks import MixedTasks, Tasks
from l2l_omniglot.errors import DataError, SettingsError, check_choice, refused
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.learners import (
    build_learner,
    read_backbone,
    read_weights,
    restore_learner,
)
from l2l_omniglot.experiments.readers import SYNTHETIC
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.baselines import Baseline, nearest_pixels, prototype_baseline
from l2l_omniglot.meta.engines import Choice
from l2l_omniglot.meta.evaluation import TaskStream
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import Schedule, Trainer
from l2l_omniglot.meta.workers import ALONE, Workers

POPULATION_TASKS = 30  # training tasks that population statistics are measured on


def baselines(
    experiment: Experiment, tasks: TaskStream, count: int, batch_norms: Sequence[str]
) -> dict[str, Baseline]:
    """Returns the baselines by name, all evaluated on the same two or more tasks.

    They are pixels, untrained features and trained features, these in each of the modes of batch
    normalisation, see `Learner.score_steps`; of untrained ones there are no population statistics.
    """
    settings, stack = replace(experiment.settings, statistics="support"), experiment.stack
    untrained = build_learner(settings, stack.channels, stack.image_size)
    untrained.to(experiment.learner.device)
    results = {"nearest neighbour, pixels": nearest_pixels(tasks, count)}
    for kind, learner in (("untrained", untrained), ("trained", experiment.learner)):
        for mode in batch_norms:
            name = f"class means, {kind} features, {mode}"
            results[name] = prototype_baseline(learner, tasks, count, mode)
    return results


def settings_splits(settings: Settings, stack: Stack) -> Splits:
    """Splits the classes of a stack as these settings say."""
    return make_splits(
        stack.info, settings.split, settings.split_seed, settings.validation_classes,
        settings.test_classes,
    )  # fmt: skip


def digest(splits: Splits) -> str:
    """Returns the SHA-256 digest of the numbers of the classes."""
    return hashlib.sha256(repr(tuple(splits)).encode()).hexdigest()


@dataclass
class TaskStreams:
    """The task streams of a run; its `splits` are the classes of each part.

    Raises:
        SettingsError: if ink or paper of the stack differ from the settings.
    """

    settings: Settings
    stack: Stack
    splits: Splits = field(init=False)

    def __post_init__(self) -> None:
        for name in ("ink", "background"):
            expected, actual = getattr(self.settings, name), getattr(self.stack, name)
            if expected not in {actual, "auto"}:
                message = f"{self.stack.name}: opened with {name} {actual}; expected {expected}"
                raise SettingsError(message)
        self.splits = settings_splits(self.settings, self.stack)

    def classes(self, part: str) -> Sequence[int]:
        """Returns the numbers of the classes of a part: one of `PARTS`."""
        check_choice("part", part, PARTS)
        return range(len(self.stack.info)) if part == ALL else getattr(self.splits, part)

    def tasks(
        self,
        part: str,
        *,
        ways: int | None = None,
        shots: int | None = None,
        queries: int | None = None,
        seed: int | None = None,
        within_alphabet: bool = False,
        augment: bool = False,
        rotated: str = "none",
    ) -> Tasks:
        """Returns the task stream of a part (``train``, ``validation``, ``test``) or ``all``.

        Sizes are those of the settings by default. `rotated` is of classes that do not train:
        ``none``, ``classes`` (rotated characters are classes) or ``each`` (each class of a task is
        rotated at random).
        """
        settings, training = self.settings, part == "train"
        sizes = {"ways": settings.ways, "shots": settings.shots, "queries": settings.queries}
        if training:
            train_sizes = settings.train_ways, settings.train_shots, settings.train_queries
            sizes |= {name: size for name, size in zip(sizes, train_sizes, strict=True) if size}
        given = {"ways": ways, "shots": shots, "queries": queries}
        return Tasks(
            self.stack,
            self.classes(part),
            **sizes | {name: size for name, size in given.items() if size is not None},
            seed=settings.seed if seed is None else seed,
            name=part,
            rotations=settings.rotations if training else rotated == "classes",
            rotate_each=not training and rotated == "each",
            mirrors=training and settings.mirrors,
            within_alphabet=within_alphabet,
            augment=augment,
        )

    def training_tasks(self) -> Tasks | MixedTasks:
        """Returns the stream that training draws from: augmented, and of mixed shots, if set."""
        settings = self.settings
        least = settings.train_shots or settings.shots
        streams = [
            self.tasks("train", shots=shots, augment=settings.augment)
            for shots in range(least, max(least, settings.train_shots_most) + 1)
        ]
        return MixedTasks(streams, settings.meta_batch_size) if streams[1:] else streams[0]


@dataclass
class Experiment(TaskStreams):
    """The parts of a run, built from its settings.

    Attributes:
        settings, stack, splits: of the run, the images, the classes of each part.
        learner: the backbone under MAML.
        workers: the processes that share its tasks.
    """

    learner: Learner
    workers: Workers = ALONE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learner.device.type == "cuda":
            self.stack = self.stack.on(self.learner.device)

    @classmethod
    def build(
        cls,
        settings: Settings,
        stack: Stack,
        device: str = "cpu",
        engine: str = "auto",
        workers: Workers = ALONE,
    ) -> Experiment:
        """Builds all parts; the initial weights depend on the seed only.

        See `build_learner` for device and engine; the stack is as `open_data` gives it.

        Raises:
            SettingsError: as `TaskStreams`.
        """
        learner = build_learner(settings, stack.channels, stack.image_size, device, engine)
        return cls(settings, stack, learner, workers)

    @classmethod
    def load(
        cls,
        weights: str | Path | Checkpoint,
        stack: Stack,
        device: str = "cpu",
        engine: str = "auto",
        workers: Workers = ALONE,
        ways: int | None = None,
        inner_lr: float | None = None,
        **others: Any,
    ) -> Experiment:
        """Builds the experiment that weights come from, with those weights.

        See `load_learner` for weights, ways and rate, `build` for the rest; `others` are settings
        that differ from those of the training: `data` or `split`.

        Raises:
            RunError: if there are no such weights, or they do not fit.
            SettingsError: as `TaskStreams`.
        """
        checkpoint = weights if isinstance(weights, Checkpoint) else find_weights(weights)
        settings = replace(checkpoint.settings.tested(ways, inner_lr), **others)
        learner = restore_learner(
            checkpoint, settings, stack.image_size, device, engine, stack.channels
        )
        return cls(settings, stack, learner, workers)

    def trainer(self) -> Trainer:
        """Returns a trainer at iteration 0."""
        settings = self.settings
        schedule = Schedule(
            settings.iterations,
            settings.meta_lr,
            settings.schedule,
            settings.first_order_until,
            settings.multi_step_until,
            settings.warmup,
        )
        return Trainer(
            self.learner,
            self.training_tasks(),
            meta_batch_size=settings.meta_batch_size,
            inner_steps=settings.inner_steps,
            schedule=schedule,
            workers=self.workers,
            optimiser=settings.optimiser,
            weight_decay=settings.weight_decay,
            average_weights=settings.average_weights,
            clip_gradients=settings.clip_gradients,
            skip_bad_updates=settings.skip_bad_updates,
        )

    def measure_population(self) -> None:
        """Measures the population statistics, if training or inductive scores need them."""
        if {self.settings.statistics, self.settings.train_statistics} & {*MEASURED}:
            self.learner.measure_population(self.tasks("train").batch(0, POPULATION_TASKS))

    def choose_engine(self) -> Choice:
        """Chooses the engine for the experiment's tasks; says why it was chosen."""
        return self.learner.choose(self.tasks("train")[0])

    def facts(self) -> dict[str, Any]:
        """Returns what a run depends on besides its settings: data, device and engine."""
        return {
            "data_sha256": self.stack.sha256,
            "data_name": self.stack.name,
            "split_sha256": digest(self.splits),
            "classes": {part: len(numbers) for part, numbers in self.splits._asdict().items()},
            "channels": self.stack.channels,
            "image_size": self.stack.image_size,
            "pictures": self.stack.pictures,
            "device": str(self.learner.device),
            "threads": torch.get_num_threads(),
            "engine": self.choose_engine().engine.name,
            "workers": self.workers.count,
        }

    def difference(self, facts: dict[str, Any]) -> str:
        """Describes how data or split differ from a checkpoint's facts; empty if they do not."""
        if (facts.get("data_name") == SYNTHETIC) != (self.stack.name == SYNTHETIC):
            return ""  # nothing of one is in the other
        if facts.get("data_sha256") != self.stack.sha256:
            actual, expected = self.stack.sha256[:12], str(facts.get("data_sha256"))[:12]
            return f"the data {self.stack.name} has digest {actual}, at training it was {expected}"
        if facts.get("split_sha256") != digest(self.splits):
            return f"split {self.settings.split} has other classes than at training"
        return ""

    def check_unseen(self, checkpoint: Checkpoint, part: str) -> None:
        """Refuses weights trained or chosen on the classes of a part here, of any images.

        Raises:
            SettingsError: if so, or if their classes are not known any more.
        """
        theirs = self._splits_of(checkpoint)
        if theirs is None and self._has_data_of(checkpoint):
            raise SettingsError(f"{checkpoint.source}: its training classes are not known any more")
        if theirs and (seen := {*self.classes(part)} & {*theirs.train, *theirs.validation}):
            split = self.settings.split
            remedy = f"weights that have seen none, such as those of a run with --split {split}"
            if part == ALL:
                remedy = "part test, or other data"
            raise SettingsError(
                f"{checkpoint.source}: trained or chosen on {len(seen)} of the classes to test "
                f"on; expected {remedy}"
            )

    def check_start(self, checkpoint: Checkpoint) -> None:
        """Refuses weights to start from that were trained on validation or test classes.

        Raises:
            SettingsError: if they were trained on the same data with such a split.
        """
        if not self._has_data_of(checkpoint):
            return
        theirs, trained = self._splits_of(checkpoint), checkpoint.settings
        reason = ""
        if theirs is None:
            reason = (
                f"the training classes of its split {trained.split} are not known any more; "
                "expected weights that were not trained on validation or test classes here"
            )
        elif seen := {*self.splits.validation, *self.splits.test} & {*theirs.train}:
            options = f"split={trained.split}"
            if trained.split in COUNTED:
                options += f", validation_classes={len(theirs.validation)}"
                options += f", test_classes={len(theirs.test)}"
            reason = (
                f"was trained on {len(seen)} of the validation or test classes here; expected a "
                f"split that keeps them apart, such as its own, {options}"
            )
        if reason:
            raise refused("start_from", self.settings.start_from, reason)

    def _has_data_of(self, checkpoint: Checkpoint) -> bool:
        """Returns whether a checkpoint was trained on the same images."""
        return bool(checkpoint.facts.get("data_sha256") == self.stack.sha256)

    def _splits_of(self, checkpoint: Checkpoint) -> Splits | None:
        """Returns the splits that a checkpoint was trained with; None if not known any more."""
        try:
            theirs = settings_splits(checkpoint.settings, self.stack)
        except DataError:  # a split of other classes, such as Omniglot's
            return None
        return theirs if digest(theirs) == checkpoint.facts.get("split_sha256") else None

    def checkpoint(self, trainer: Trainer, facts: dict[str, Any], resumable: bool) -> Checkpoint:
        """Returns the present state, with the optimiser's if it is to be resumed."""
        return Checkpoint(
            self.settings,
            trainer.iteration,
            read_backbone(self.learner),
            trainer.optimizer_tensors() if resumable else {},
            facts,
            rates=read_weights(self.learner.rates),
            head=read_weights(self.learner.head),
            norms=read_weights(self.learner.norms),
            population=self.learner.population,
        )
