"""Draws few-shot tasks from a stack by learn2learn's TaskDataset, numbered and reproducible."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from l2l_omniglot._util.compat import l2l
from l2l_omniglot._util.rng import python_random
from l2l_omniglot.data.augment import affine
from l2l_omniglot.data.stack import ROTATIONS, TRANSFORMS, Stack, span
from l2l_omniglot.errors import DataError, check_number


class Task(NamedTuple):
    """One task ("episode").

    Attributes:
        support: float32 (ways * shots, channels, H, W) in [0, 1].
        support_labels: int64 (ways * shots,) in [0, ways).
        query: float32 (ways * queries, channels, H, W) in [0, 1].
        query_labels: int64 (ways * queries,) in [0, ways).
        classes: the data set's label of each class, by the task's label.
    """

    support: torch.Tensor
    support_labels: torch.Tensor
    query: torch.Tensor
    query_labels: torch.Tensor
    classes: tuple[int, ...]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Task:
        """Moves the task's images and labels to `device`, images as `dtype`."""
        return Task(
            self.support.to(device, dtype),
            self.support_labels.to(device),
            self.query.to(device, dtype),
            self.query_labels.to(device),
            self.classes,
        )


class TaskBatch(NamedTuple):
    """T tasks of the same sizes, stacked: each tensor as in `Task`, with a leading T."""

    support: torch.Tensor
    support_labels: torch.Tensor
    query: torch.Tensor
    query_labels: torch.Tensor
    ways: int

    @classmethod
    def of(
        cls, tasks: Sequence[Task], device: torch.device | str, dtype: torch.dtype | None = None
    ) -> TaskBatch:
        """Stacks tasks; images as `dtype`."""
        support, support_labels, query, query_labels, classes = zip(*tasks, strict=True)
        return cls(
            torch.stack(support).to(device, dtype),
            torch.stack(support_labels).to(device),
            torch.stack(query).to(device, dtype),
            torch.stack(query_labels).to(device),
            len(classes[0]),
        )


class StackDataset(Dataset[tuple[torch.Tensor, int]]):
    """Some classes of a stack as a torch data set of (image, label).

    With `rotations`, a character rotated by 0, 90, 180 and 270 degrees is four classes (Finn et al.
    2017, section 5.2); with `mirrors`, so are its mirror images. Labels are ``number of the
    transform * len(classes) + position``, so every class has one transform. (learn2learn's
    RandomClassRotation, which rotates all classes of a task alike, is not used.) Classes may differ
    in size.
    """

    def __init__(
        self,
        stack: Stack,
        classes: Sequence[int],
        rotations: bool = False,
        mirrors: bool = False,
    ) -> None:
        if rotations and stack.height != stack.width:
            raise DataError(
                f"{stack.name}: images of {stack.height}x{stack.width} pixels cannot be rotated "
                "into new classes; expected square images, or no rotations"
            )
        self.stack, self.classes = stack, tuple(classes)
        transforms = np.arange(TRANSFORMS if mirrors else ROTATIONS)
        transforms = transforms if rotations else transforms[::ROTATIONS]
        self.labels = range(len(transforms) * len(self.classes))
        self._numbers = np.tile(self.classes, len(transforms))
        self._transforms = transforms.repeat(len(self.classes))
        counts = [stack.images_per_class[number] for number in self._numbers]
        self._starts = np.cumsum([0, *counts])
        self._label_of = np.repeat(self.labels, counts)

    def __len__(self) -> int:
        return len(self._label_of)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Returns image number `index`, float32 (channels, H, W) in [0, 1], and its label."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.gather([index])[0], self.label_of(index)

    def gather(self, indices: Sequence[int]) -> torch.Tensor:
        """Reads B images: float32 (B, channels, H, W) in [0, 1]."""
        labels = self._label_of[np.asarray(indices)]
        items = np.asarray(indices) - self._starts[labels]
        return self.stack.images(self._numbers[labels], items, self._transforms[labels])

    def label_of(self, index: int) -> int:
        """Returns the label of an image."""
        return int(self._label_of[index])

    def indices_of(self, label: int) -> range:
        """Returns the numbers of a label's images."""
        return range(*self._starts[label : label + 2].tolist())

    def describe(self, label: int) -> tuple[int, int]:
        """Returns a label's class number in the stack, and its transform as in `images`."""
        return int(self._numbers[label]), int(self._transforms[label])


class _ImageNumbers(Dataset[tuple[int, int]]):
    """Pairs of image number and label, so that a task's images can be read all at once."""

    def __init__(self, dataset: StackDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, self._dataset.label_of(index)


class Tasks:
    """An endless, numbered stream of tasks.

    ``tasks[i]`` depends on (seed, name, i), the data and the sizes only, so it is the same in
    whatever process and order. learn2learn's transforms NWays, KShots, LoadData, RemapLabels and
    ConsecutiveLabels pick the images; the first `shots` of each class are the support set, the
    others the query set, each in random order.

    Args:
        stack: the images.
        classes: class numbers of this part (one of `Splits`).
        ways: classes per task, at least 2.
        shots: support images per class, at least 1.
        queries: query images per class, at least 1.
        seed: of the stream.
        name: of the stream, e.g. ``train``; streams of other names are independent.
        rotations: see `StackDataset`.
        mirrors: see `StackDataset`.
        within_alphabet: whether all classes of a task are of one alphabet; each alphabet with
            enough classes is equally likely.
        augment: whether every image is changed by a small random affine map.
        rotate_each: whether each class of a task is rotated at random, by quarter turns (the
            protocol of Finn et al. 2017; with `rotations`, that of Snell et al. 2017, two
            rotations of a character can be two classes of a task).

    Raises:
        DataError: if a size is too small, the part has too few classes, a class too few images,
            or no alphabet is large enough or known.
    """

    def __init__(
        self,
        stack: Stack,
        classes: Sequence[int],
        *,
        ways: int = 5,
        shots: int = 1,
        queries: int = 15,
        seed: int = 0,
        name: str = "train",
        rotations: bool = False,
        mirrors: bool = False,
        within_alphabet: bool = False,
        augment: bool = False,
        rotate_each: bool = False,
    ) -> None:
        _check_sizes(stack, classes, ways, shots, queries, name)
        self.ways, self.shots, self.queries = ways, shots, queries
        self.seed, self.name, self.augment, self.rotate_each = seed, name, augment, rotate_each
        self.dataset = StackDataset(stack, classes, rotations or rotate_each, mirrors)
        labels = self.dataset.labels[: len(classes)] if rotate_each else self.dataset.labels
        groups = self._alphabets(labels) if within_alphabet else [labels]
        self._tasksets = [self._build_taskset(group) for group in groups]

    def __repr__(self) -> str:
        data, sizes = self.dataset, f"{self.ways}-way {self.shots}-shot, {self.queries} queries"
        return (
            f"Tasks({self.name!r} of {data.stack.name}, {sizes}, {len(data.labels)} classes, "
            f"seed={self.seed})"
        )

    def _alphabets(self, labels: Sequence[int]) -> list[list[int]]:
        """Lists the labels of each alphabet with enough characters."""
        stack = self.dataset.stack
        alphabets: dict[tuple[str, str], list[int]] = {}
        for label in labels:
            info = stack.info[self.dataset.describe(label)[0]]
            if info.alphabet:
                alphabets.setdefault((info.subset, info.alphabet), []).append(label)
        repeats = len(labels) // len(self.dataset.classes)  # transforms
        sizes = [len(group) // repeats for group in alphabets.values()]
        large = [group for group in alphabets.values() if len(group) // repeats >= self.ways]
        if not large:
            raise DataError(
                f"{stack.name}: the {self.name} part has {len(alphabets)} known alphabets, of at "
                f"most {max(sizes, default=0)} classes; {self.ways}-way tasks within one need "
                f"{self.ways}"
            )
        return large

    def _build_taskset(self, labels: Sequence[int]) -> Any:
        indices = {label: list(self.dataset.indices_of(label)) for label in labels}
        meta = l2l.data.MetaDataset(_ImageNumbers(self.dataset), labels_to_indices=indices)
        transforms = [
            l2l.data.transforms.NWays(meta, self.ways),
            l2l.data.transforms.KShots(meta, self.shots + self.queries),
            l2l.data.transforms.LoadData(meta),
            l2l.data.transforms.RemapLabels(meta),
            l2l.data.transforms.ConsecutiveLabels(meta),
        ]
        with warnings.catch_warnings():  # TaskDataset was renamed Taskset
            warnings.simplefilter("ignore", DeprecationWarning)
            return l2l.data.TaskDataset(meta, transforms, task_collate=list)

    def __getitem__(self, number: int) -> Task:
        """Draws task `number`, at least 0."""
        if number < 0:
            raise IndexError(f"task {number}: expected 0 or more")
        with python_random("task", self.seed, self.name, number):
            taskset, *others = self._tasksets
            return self._split((random.choice(self._tasksets) if others else taskset).sample())

    def _split(self, samples: list[tuple[int, int]]) -> Task:
        """Splits (image number, label) pairs, sorted by class, into support and query set."""
        if self.rotate_each:
            rotated = [random.randrange(ROTATIONS) for _ in range(self.ways)]
            apart = len(self.dataset) // ROTATIONS  # images of each rotation, one after the other
            samples = [(number + rotated[label] * apart, label) for number, label in samples]
        size = self.shots + self.queries
        support = [pair for i, pair in enumerate(samples) if i % size < self.shots]
        query = [pair for i, pair in enumerate(samples) if i % size >= self.shots]
        random.shuffle(support)
        random.shuffle(query)
        images = self.dataset.gather([number for number, _ in support + query])
        if self.augment:
            generator = torch.Generator().manual_seed(random.getrandbits(63))
            images = affine(images, generator, background=float(self.dataset.stack.ink == "black"))
        labels = torch.tensor([label for _, label in support + query])
        cut = len(support)
        by_label = {label: self.dataset.label_of(number) for number, label in support}
        classes = tuple(by_label[label] for label in range(self.ways))
        return Task(images[:cut], labels[:cut], images[cut:], labels[cut:], classes)

    def batch(self, start: int, count: int) -> Iterator[Task]:
        """Draws tasks `start` to `start + count - 1`, one by one."""
        return (self[number] for number in range(start, start + count))


class MixedTasks:
    """A stream of tasks whose number of shots changes from one meta-batch to the next.

    Args:
        streams: of the same seed and name, one for each number of shots, all equally likely.
        meta_batch_size: tasks in a row that have the same number.
    """

    def __init__(self, streams: Sequence[Tasks], meta_batch_size: int) -> None:
        self._streams, self._meta_batch_size = streams, meta_batch_size
        self.seed, self.name = streams[0].seed, streams[0].name

    def __getitem__(self, number: int) -> Task:
        """Draws task `number`, at least 0."""
        with python_random("shots", self.seed, self.name, number // self._meta_batch_size):
            stream = random.choice(self._streams)
        return stream[number]

    def batch(self, start: int, count: int) -> Iterator[Task]:
        """Draws tasks `start` to `start + count - 1`, one by one."""
        return (self[number] for number in range(start, start + count))


def _check_sizes(
    stack: Stack, classes: Sequence[int], ways: int, shots: int, queries: int, name: str
) -> None:
    check_number("ways", ways, minimum=2, kind=DataError)
    check_number("shots", shots, minimum=1, kind=DataError)
    check_number("queries", queries, minimum=1, kind=DataError)
    if len(classes) < ways:
        raise DataError(
            f"{stack.name}: the {name} part has {len(classes)} classes; {ways}-way tasks need "
            f"at least {ways}"
        )
    counts = [stack.images_per_class[number] for number in classes]
    if min(counts) < shots + queries:
        fewest = "" if len({*counts}) == 1 else f", fewest in {_fewest(stack, classes)!r}"
        raise DataError(
            f"{stack.name}: {span(counts)} images per class{fewest}; {shots} shots and {queries} "
            f"queries need at least {shots + queries}"
        )


def _fewest(stack: Stack, classes: Sequence[int]) -> str:
    """Returns the name of the class with the fewest images."""
    return stack.names[min(classes, key=lambda number: stack.images_per_class[number])]
