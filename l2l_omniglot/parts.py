"""The parts of a run's data: which classes are for what, and the task streams drawn from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from l2l_omniglot.errors import check_name
from l2l_omniglot.settings import Settings
from l2l_omniglot.splits import Splits, make_splits
from l2l_omniglot.stack import ImageStack
from l2l_omniglot.tasks import Tasks


def settings_splits(settings: Settings, stack: ImageStack) -> Splits:
    """Which classes of the stack are for what, in a run of these settings."""
    return make_splits(stack.info, settings.split, settings.split_seed, settings.validation_classes)


def digest(splits: Splits) -> str:
    """Of the numbers of the classes; SHA-256."""
    return hashlib.sha256(repr(tuple(splits)).encode()).hexdigest()


@dataclass
class Parts:
    """The data of a run, cut into parts.

    Attributes:
        settings: of the run.
        stack: the images.
        splits: which classes are for what.
    """

    settings: Settings
    stack: ImageStack
    splits: Splits

    def tasks(
        self,
        part: str,
        *,
        ways: int | None = None,
        shots: int | None = None,
        queries: int | None = None,
        seed: int | None = None,
        within_alphabet: bool = False,
    ) -> Tasks:
        """The task stream of a part (``train``, ``validation``, ``test``), sizes as trained."""
        check_name("part", part, Splits._fields)
        settings, training = self.settings, part == "train"
        if queries is None:
            queries = settings.train_queries if training else settings.queries
        return Tasks(
            self.stack,
            getattr(self.splits, part),
            ways=settings.ways if ways is None else ways,
            shots=settings.shots if shots is None else shots,
            queries=queries,
            seed=settings.seed if seed is None else seed,
            name=part,
            rotations=training and settings.rotations,
            mirrors=training and settings.mirrors,
            within_alphabet=within_alphabet,
        )
