"""An experiment: settings turned into data, splits, task streams, learner and trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from l2l_omniglot.backbones import make_backbone
from l2l_omniglot.checkpoint import Checkpoint, load_checkpoint, read_weights, write_weights
from l2l_omniglot.devices import choose_device
from l2l_omniglot.engines import Choice
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.learner import Learner
from l2l_omniglot.parts import Parts, digest, settings_splits
from l2l_omniglot.randomness import all_random
from l2l_omniglot.settings import Settings
from l2l_omniglot.splits import ORDERS
from l2l_omniglot.stack import ImageStack
from l2l_omniglot.trainer import Trainer
from l2l_omniglot.workers import ALONE, Workers


@dataclass
class Experiment(Parts):
    """All of a run, built from its settings.

    Attributes:
        settings: what they were built from.
        stack: the images.
        splits: which classes are for what.
        learner: the backbone under MAML.
        workers: the processes that share its tasks out.
    """

    learner: Learner
    workers: Workers = ALONE

    @classmethod
    def build(
        cls,
        settings: Settings,
        stack: ImageStack,
        device: str = "cpu",
        engine: str = "auto",
        workers: Workers = ALONE,
    ) -> Experiment:
        """Builds all parts; the initial weights depend on the seed only.

        Args:
            settings: of the run.
            stack: as `open_data` gives it.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            engine: see `Learner`.
            workers: the processes that share the tasks out.

        Raises:
            SettingsError: if the stack shows ink or paper otherwise than the settings say.
        """
        for what in ("ink", "background"):
            needed, found = getattr(settings, what), getattr(stack, what)
            if needed not in {found, "auto"}:
                raise SettingsError(f"{stack.name}: opened with {what} {found}; needed {needed}")
        splits = settings_splits(settings, stack)
        learner = build_learner(settings, stack.channels, stack.image_size, device, engine)
        if learner.device.type == "cuda":
            stack = stack.on(learner.device)
        return cls(settings, stack, splits, learner, workers)

    @classmethod
    def load(
        cls,
        source: str | Path | Checkpoint,
        stack: ImageStack,
        device: str = "cpu",
        engine: str = "auto",
        workers: Workers = ALONE,
    ) -> Experiment:
        """Builds the experiment a checkpoint (or its file) comes from, with its weights."""
        checkpoint = source if isinstance(source, Checkpoint) else load_checkpoint(source)
        experiment = cls.build(checkpoint.settings, stack, device, engine, workers)
        write_learner(experiment.learner, checkpoint)
        return experiment

    def trainer(self) -> Trainer:
        """A trainer at iteration 0."""
        settings = self.settings
        return Trainer(
            self.learner,
            self.tasks("train"),
            meta_batch_size=settings.meta_batch_size,
            inner_steps=settings.inner_steps,
            meta_lr=settings.meta_lr,
            schedule=settings.schedule,
            iterations=settings.iterations,
            first_order_until=settings.first_order_until,
            multi_step_until=settings.multi_step_until,
            workers=self.workers,
        )

    def choose_engine(self) -> Choice:
        """Which engine computes the experiment's tasks, and why."""
        return self.learner.choose(self.tasks("train")[0])

    def facts(self) -> dict[str, Any]:
        """What a run depends on beside its settings: the data's content, device and engine."""
        return {
            "data_sha256": self.stack.sha256,
            "data_name": self.stack.name,
            "split_sha256": digest(self.splits),
            "classes": {part: len(numbers) for part, numbers in self.splits._asdict().items()},
            "channels": self.stack.channels,
            "image_size": self.stack.image_size,
            "device": str(self.learner.device),
            "threads": torch.get_num_threads(),
            "engine": self.choose_engine().engine.name,
            "workers": self.workers.count,
        }

    def differences(self, facts: dict[str, Any]) -> list[str]:
        """In what data and split are not those of a checkpoint's facts; empty where they are."""
        own = self.facts()
        if facts.get("data_sha256") != own["data_sha256"]:
            found, needed = own["data_sha256"][:12], str(facts.get("data_sha256"))[:12]
            return [f"the data {self.stack.name} has digest {found}, at training it was {needed}"]
        if facts.get("split_sha256") != own["split_sha256"]:
            return [f"split {self.settings.split} has other classes than at training"]
        return []

    def check_start(self, checkpoint: Checkpoint) -> None:
        """Refuses weights to start from that have seen classes which are not for training.

        Raises:
            SettingsError: if they were trained on the same data, split otherwise.
        """
        if checkpoint.facts.get("data_sha256") != self.stack.sha256:
            return
        theirs = settings_splits(checkpoint.settings, self.stack)
        what = f"--start-from {self.settings.start_from}"
        if digest(theirs) != checkpoint.facts.get("split_sha256"):
            raise SettingsError(
                f"{what}: which classes its split {checkpoint.settings.split} had for training "
                "cannot be told any more; needed weights that have not seen those for validation "
                "and test here"
            )
        seen = {*self.splits.validation, *self.splits.test} & set(theirs.train)
        if seen:
            own = f"--split {checkpoint.settings.split}"
            if checkpoint.settings.split in ORDERS:
                own += f" --validation-classes {len(theirs.validation)}"
            raise SettingsError(
                f"{what}: was trained on {len(seen)} of the classes that are for validation or "
                f"test here; needed a split that keeps them apart, such as its own, {own}"
            )

    def checkpoint(self, trainer: Trainer, facts: dict[str, Any], resumable: bool) -> Checkpoint:
        """The experiment as it stands, with the optimiser's state where it is to be resumed."""
        return Checkpoint(
            self.settings,
            trainer.iteration,
            read_weights(self.learner.backbone),
            trainer.optimizer_tensors() if resumable else {},
            facts,
            rates=read_weights(self.learner.rates),
        )


def build_learner(
    settings: Settings,
    channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    device: str = "cpu",
    engine: str = "auto",
) -> Learner:
    """The learner of a run at iteration 0; its initial weights depend on the seed only.

    Args:
        settings: of the run.
        channels: of the images.
        image_size: pixels; one number, or (height, width).
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: see `Learner`.
    """
    with all_random("weights", settings.seed):
        backbone = make_backbone(
            settings.backbone,
            ways=settings.ways,
            channels=channels,
            image_size=image_size,
            init=settings.init,
        )
    return Learner(
        backbone.to(choose_device(device)),
        settings.inner_lr,
        settings.first_order,
        engine,
        settings.inner_rates,
        settings.adapt,
        settings.inner_steps,
    )


def write_learner(learner: Learner, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights and inner rates into a learner, in place.

    Raises:
        RunError: if they do not fit.
    """
    write_weights(learner.backbone, checkpoint.weights, checkpoint.source)
    write_weights(learner.rates, checkpoint.rates, checkpoint.source)
