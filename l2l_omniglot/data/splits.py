"""Which classes are for training, for choosing (validation) and for the final figure (test)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.data.sidecar import ClassInfo
from l2l_omniglot.errors import DataError, check_choice

OMNIGLOT_CLASSES = 1623
OMNIGLOT_VALIDATION = 100
OMNIGLOT_TEST = 423
VALIDATION_ALPHABET_STEP = 6


class Splits(NamedTuple):
    """Class numbers of each part, ascending; no class is in two parts."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def make_splits(
    info: Sequence[ClassInfo],
    split: str | Path = "tutorial",
    seed: int = 0,
    validation_classes: int = 0,
) -> Splits:
    """Cuts the classes of a stack into train, validation and test.

    Args:
        info: the stack's classes (`ImageStack.info`).
        split: ``tutorial`` (in order: of Omniglot's first 1,200 classes 1,100 train and 100,
            nearly all of alphabets not trained on, validate; the last 423 test), ``random``
            (the same sizes,
            drawn by `seed`), ``alphabets`` (background, of which every sixth alphabet
            validates, against evaluation), or the path of a JSON file with lists ``train``,
            ``validation`` and ``test`` of class names. Other stacks are cut in proportion.
        seed: only for ``random``.
        validation_classes: how many classes validate, of ``tutorial`` and ``random``; the rest
            of theirs train. 0: as said above.

    Raises:
        DataError: unknown split, a number of validation classes that it cannot have, a class in
            two parts, names the stack does not have, an empty part, or alphabets that are not
            known.
    """
    split = str(split)
    if validation_classes and split not in ORDERS:
        raise DataError(
            f"{validation_classes} validation classes with split {split!r}, which says itself "
            f"what validates; expected split {' or '.join(ORDERS)}"
        )
    if split.endswith(".json"):
        return _from_file(info, Path(split))
    if split in ORDERS:
        return _cut(ORDERS[split](len(info), seed), validation_classes)
    also = "a path ending in .json"
    check_choice("split", split, NAMED_SPLITS, also=also, kind=DataError)
    return _alphabets(info)


def _in_order(count: int, _seed: int) -> list[int]:
    return list(range(count))


def _at_random(count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(derive_seed("split", seed)).shuffle(order)
    return order


def _cut(order: list[int], validation: int) -> Splits:
    """Cuts an order of classes in Omniglot's proportions: train, validation, test."""
    count = len(order)
    test = round(count * OMNIGLOT_TEST / OMNIGLOT_CLASSES)
    if not 0 <= validation < count - test:
        raise DataError(
            f"{validation} validation classes: expected 1 to {count - test - 1}, as {count - test} "
            "of the classes are not for test"
        )
    if not validation:
        # Small stacks would get two or three classes to validate on: a fifth, up to 20, instead.
        validation = max(round(count * OMNIGLOT_VALIDATION / OMNIGLOT_CLASSES), min(20, count // 5))
    train = count - validation - test
    parts = order[:train], order[train : train + validation], order[train + validation :]
    return _checked(Splits(*(tuple(sorted(part)) for part in parts)), f"{count} classes")


def _alphabets(info: Sequence[ClassInfo]) -> Splits:
    background = sorted({entry.alphabet for entry in info if entry.subset == "background"})
    chosen = set(background[VALIDATION_ALPHABET_STEP - 1 :: VALIDATION_ALPHABET_STEP])
    if not chosen or not any(entry.subset == "evaluation" for entry in info):
        raise DataError(
            "split 'alphabets' needs a sidecar that names background and evaluation alphabets; "
            f"this stack has {len(background)} background alphabets; use --split random"
        )
    train, validation, test = [], [], []
    for number, entry in enumerate(info):
        if entry.subset == "evaluation":
            test.append(number)
        elif entry.alphabet in chosen:
            validation.append(number)
        else:
            train.append(number)
    return _checked(Splits(tuple(train), tuple(validation), tuple(test)), "alphabets")


def _from_file(info: Sequence[ClassInfo], path: Path) -> Splits:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not a readable JSON file: {error}") from error
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
    """Refuses empty parts and classes that stand twice."""
    sizes = ", ".join(f"{len(part)} {name}" for name, part in splits._asdict().items())
    if not all(splits):
        raise DataError(f"{source}: the split has {sizes} classes; expected some in each part")
    together = [number for part in splits for number in part]
    if len(set(together)) != len(together):
        twice = next(number for number in together if together.count(number) > 1)
        raise DataError(f"{source}: class {twice} stands twice in the split ({sizes})")
    return splits


# An order of all classes, of which the first train and the last are for test.
ORDERS: dict[str, Callable[[int, int], list[int]]] = {
    "tutorial": _in_order,
    "random": _at_random,
}
ALPHABETS = "alphabets"
NAMED_SPLITS = (*ORDERS, ALPHABETS)
