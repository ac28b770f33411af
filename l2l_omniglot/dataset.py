"""A part of a stack as a torch data set, with turned and mirrored characters as new classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from l2l_omniglot.errors import DataError
from l2l_omniglot.stack import POSES, TURNS, ImageStack


class StackDataset(Dataset[tuple[torch.Tensor, int]]):
    """Some classes of a stack as a torch data set of (image, label).

    With `rotations`, each class stands four times, turned by 0, 90, 180 and 270 degrees: a
    rotated character is a new class (Finn et al. 2017, section 5.2). With `mirrors` it stands
    twice as many times again, as its mirror image. Labels are ``number of the pose *
    len(classes) + position``, so every class has exactly one pose. (learn2learn's
    RandomClassRotation gives all classes of a task the same turn; it is not used.)

    Args:
        stack: the images.
        classes: class numbers of the stack that belong to this part.
        rotations: whether to add the rotated classes.
        mirrors: whether to add the mirrored classes.

    Raises:
        DataError: if rotations are asked of images that are not square.
    """

    def __init__(
        self,
        stack: ImageStack,
        classes: Sequence[int],
        rotations: bool = False,
        mirrors: bool = False,
    ) -> None:
        if rotations and stack.height != stack.width:
            raise DataError(
                f"{stack.name}: images of {stack.height}x{stack.width} pixels cannot be rotated "
                "into new classes; needed square ones, or --no-rotations"
            )
        self.stack = stack
        self.classes = tuple(classes)
        self._numbers = np.asarray(self.classes)
        poses = np.arange(POSES if mirrors else TURNS)
        self._poses = poses if rotations else poses[::TURNS]

    def __len__(self) -> int:
        return len(self._poses) * len(self.classes) * self.stack.items

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Image number `index`: float32 (channels, H, W) in [0, 1], and its label."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.gather([index])[0], index // self.stack.items

    def gather(self, indices: Sequence[int]) -> torch.Tensor:
        """Reads B images at once: float32 (B, channels, H, W) in [0, 1]."""
        labels, items = np.divmod(np.asarray(indices), self.stack.items)
        poses, positions = np.divmod(labels, len(self.classes))
        return self.stack.images(self._numbers[positions], items, self._poses[poses])

    def describe(self, label: int) -> tuple[int, int]:
        """The stack's class number behind a label, and its pose (see `ImageStack.images`)."""
        pose, position = divmod(label, len(self.classes))
        return self.classes[position], int(self._poses[pose])

    def labels_to_indices(self) -> dict[int, list[int]]:
        """Every label with the numbers of its images, as learn2learn's MetaDataset wants it."""
        m = self.stack.items
        labels = range(len(self._poses) * len(self.classes))
        return {label: list(range(label * m, (label + 1) * m)) for label in labels}


class ImageNumbers(Dataset[tuple[int, int]]):
    """The data set's image numbers in place of its images, so a task is read in one go."""

    def __init__(self, dataset: StackDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[int, int]:
        """An image's number, and its label."""
        return index, index // self._dataset.stack.items
