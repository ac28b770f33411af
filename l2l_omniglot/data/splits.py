"""Splits the classes of a stack into training, validation and test classes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l2l_omniglot._util.reading import read_json, reason_of
from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.data import ALPHABETS, COUNTED, GROUPS, MAML_PLUS_PLUS, NAMED_SPLITS, VINYALS
from l2l_omniglot.data.sidecar import ClassInfo
from l2l_omniglot.errors import DataError, check_choice, refused

OMNIGLOT_CLASSES = 1623
OMNIGLOT_VALIDATION = 100
OMNIGLOT_TEST = 423
VALIDATION_ALPHABET_STEP = 6
# Background alphabets that validate in the split of Vinyals et al. 2016.
_VINYALS_VALIDATION = {
    "Armenian",
    "Bengali",
    "Early_Aramaic",
    "Hebrew",
    "Mkhedruli_(Georgian)",
}
# Of numpy's RandomState, from val_seed 0 in the code of Antoniou et al. 2019 (docs/evaluation.md).
_MAML_PLUS_PLUS_SEED, _MAML_PLUS_PLUS_CUTS = 985_773, (1150, 1200)


class Splits(NamedTuple):
    """The class numbers of each part, ascending; no class is in two parts."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def make_splits(
    info: Sequence[ClassInfo],
    split: str | Path = "tutorial",
    seed: int = 0,
    validation_classes: int = 0,
    test_classes: int = 0,
) -> Splits:
    """Splits the classes of a stack into train, validation and test.

    Args:
        info: the stack's classes (`ImageStack.info`).
        split: one of these; stacks of other sizes are cut in proportion.

            - ``tutorial``: in order. Of Omniglot's first 1,200 classes 1,100 train and 100, nearly
              all of alphabets not trained on, validate; the last 423 test.
            - ``random``: the same sizes, drawn by `seed`.
            - ``groups``: nearly the same sizes, of whole groups (alphabets) drawn by `seed`.
            - ``alphabets``: the background alphabets, of which every sixth validates, against
              the evaluation alphabets.
            - ``vinyals``: that of Vinyals et al. 2016, 1,028 / 172 / 423 classes of Omniglot; its
              test classes are those of ``tutorial``.
            - ``maml++``: that of Antoniou et al. 2019, 1,150 / 50 / 423 classes of Omniglot.
            - the path of a JSON file with lists ``train``, ``validation`` and ``test`` of class
              names.
        seed: only for ``random`` and ``groups``.
        validation_classes: number of validation classes of ``tutorial``, ``random`` and
            ``groups``, of the last at least; the rest of theirs train. 0: as above.
        test_classes: number of their test classes. 0: as above.

    Raises:
        DataError: if the split or its number of validation classes is invalid, a class is in
            two parts or not in the stack, a part is empty, or alphabets are unknown.
    """
    split = str(split)
    asked = {"validation_classes": validation_classes, "test_classes": test_classes}
    for name, number in asked.items():
        if number and split not in COUNTED:
            expected = f"no number with split {split!r}; expected split {' or '.join(COUNTED)}"
            raise refused(name, number, expected, DataError)
    if split.endswith(".json"):
        return _from_file(info, Path(split))
    check_choice("split", split, NAMED_SPLITS, "a path ending in .json", DataError)
    if split == ALPHABETS:
        return _alphabets(info)
    if split in {VINYALS, MAML_PLUS_PLUS}:
        return _published(info, split)
    if split == GROUPS:
        return _groups(info, seed, validation_classes, test_classes)
    order = list(range(len(info)))
    if split == "random":
        random.Random(derive_seed("split", seed)).shuffle(order)
    return _cut(order, *_sizes(len(info), validation_classes, test_classes))


def _sizes(count: int, validation: int, test: int) -> tuple[int, int]:
    """Returns the numbers of validation and test classes; 0: in Omniglot's proportions."""
    if not 0 <= test < count:
        raise refused("test_classes", test, f"expected 1 to {count - 2}", DataError)
    test = test or round(count * OMNIGLOT_TEST / OMNIGLOT_CLASSES)
    if not 0 <= validation < count - test:
        expected = f"expected 1 to {count - test - 1}, since {test} of {count} classes are for test"
        raise refused("validation_classes", validation, expected, DataError)
    if not validation:  # in small stacks a fifth, up to 20, instead of two or three
        validation = max(round(count * OMNIGLOT_VALIDATION / OMNIGLOT_CLASSES), min(20, count // 5))
    return validation, test


def _groups(info: Sequence[ClassInfo], seed: int, validation: int, test: int) -> Splits:
    """Splits into whole groups, drawn by the seed.

    Raises:
        DataError: if there are fewer than three groups, or a part gets fewer classes than asked
            for, since each other part needs a group, too.
    """
    enough_validation, enough_test = _sizes(len(info), validation, test)
    members: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(info):
        members[entry.alphabet].append(number)
    names = sorted(members)
    if len(names) < 3 or "" in names:
        known = f"{len({*names} - {''})} groups of classes are known"
        expected = f"{known}; expected at least 3, and that of each class"
        raise refused("split", GROUPS, expected, DataError)
    random.Random(derive_seed("split", seed)).shuffle(names)
    sizes = {"test": enough_test, "validation": enough_validation, "train": len(info)}
    parts = _dealt([members[name] for name in names], sizes)
    for part, asked in (("validation", validation), ("test", test)):
        if (got := len(parts[part])) < asked:
            expected = f"expected at most {got}, so that each part has a group"
            raise refused(f"{part}_classes", asked, expected, DataError)
    return _checked(Splits(**{part: tuple(sorted(some)) for part, some in parts.items()}), GROUPS)


def _dealt(groups: Sequence[list[int]], sizes: dict[str, int]) -> dict[str, list[int]]:
    """Deals groups out, in order, until the first part has its size, then the next."""
    parts: dict[str, list[int]] = {name: [] for name in sizes}
    for number, group in enumerate(groups):
        empty = [part for part in parts if not parts[part]]
        short = [part for part in parts if len(parts[part]) < sizes[part]]
        # As many groups are kept as parts have none yet.
        parts[empty[0] if len(groups) - number == len(empty) else short[0]] += group
    return parts


def _cut(order: list[int], validation: int, test: int) -> Splits:
    """Cuts an order of classes: train, validation, test."""
    count = len(order)
    train = count - validation - test
    parts = order[:train], order[train : train + validation], order[train + validation :]
    return _checked(Splits(*(tuple(sorted(part)) for part in parts)), f"{count} classes")


def _alphabets(info: Sequence[ClassInfo]) -> Splits:
    background = sorted({entry.alphabet for entry in info if entry.subset == "background"})
    chosen = set(background[VALIDATION_ALPHABET_STEP - 1 :: VALIDATION_ALPHABET_STEP])
    test = [number for number, entry in enumerate(info) if entry.subset == "evaluation"]
    if not chosen or not test:
        expected = (
            "needs a sidecar that names background and evaluation alphabets; this stack has "
            f"{len(background)} background alphabets; expected split random"
        )
        raise refused("split", ALPHABETS, expected, DataError)
    others = [number for number, entry in enumerate(info) if entry.subset != "evaluation"]
    train = [number for number in others if info[number].alphabet not in chosen]
    validation = [number for number in others if info[number].alphabet in chosen]
    return _checked(Splits(tuple(train), tuple(validation), tuple(test)), ALPHABETS)


def _published(info: Sequence[ClassInfo], split: str) -> Splits:
    """Cuts the classes of Omniglot as published code does."""
    named = all(entry.alphabet for entry in info)
    if len(info) != OMNIGLOT_CLASSES or not named:
        known = f"{len(info)} classes{'' if named else ' without names of alphabets'}"
        expected = f"{known}; expected Omniglot's {OMNIGLOT_CLASSES}, with their names"
        raise refused("split", split, expected, DataError)
    numbers = range(len(info))
    if split == MAML_PLUS_PLUS:
        order = sorted(numbers, key=lambda number: info[number].name.partition("/")[2])
        np.random.RandomState(_MAML_PLUS_PLUS_SEED).shuffle(order)
        parts = np.split(np.array(order), _MAML_PLUS_PLUS_CUTS)
        return Splits(*(tuple(sorted(part.tolist())) for part in parts))
    order = sorted(numbers, key=lambda number: info[number].name)
    first, test = order[:-OMNIGLOT_TEST], order[-OMNIGLOT_TEST:]
    validation = {
        number
        for number in first
        if info[number].subset == "background" and info[number].alphabet in _VINYALS_VALIDATION
    }
    train = set(first) - validation
    return Splits(*(tuple(sorted(part)) for part in (train, validation, test)))


def _from_file(info: Sequence[ClassInfo], path: Path) -> Splits:
    try:
        body = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file: {reason_of(error)}") from error
    numbers = {entry.name: number for number, entry in enumerate(info)}
    parts = [_named_classes(body, part, numbers, path) for part in Splits._fields]
    return _checked(Splits(*parts), str(path))


def _named_classes(body: object, part: str, numbers: dict[str, int], path: Path) -> tuple[int, ...]:
    names = body.get(part) if isinstance(body, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: expected a list of class names under {part!r}")
    unknown = [name for name in names if name not in numbers]
    if unknown:
        example = next(iter(numbers))
        raise DataError(
            f"{path}: {len(unknown)} of {len(names)} names under {part!r} are not in the stack, "
            f"the first is {unknown[0]!r}; the stack's names look like {example!r}"
        )
    return tuple(sorted(numbers[name] for name in names))


def _checked(splits: Splits, source: str) -> Splits:
    """Refuses empty parts and classes that are listed twice."""
    sizes = ", ".join(f"{len(part)} {name}" for name, part in splits._asdict().items())
    if not all(splits):
        raise DataError(f"{source}: the split has {sizes} classes; expected some in each part")
    together = [number for part in splits for number in part]
    if len(set(together)) != len(together):
        twice = next(number for number in together if together.count(number) > 1)
        raise DataError(f"{source}: class {twice} is twice in the split ({sizes})")
    return splits
