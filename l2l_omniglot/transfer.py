"""Trained weights by run folder, file, name, or for a number of classes."""

from __future__ import annotations

import math
from pathlib import Path

from l2l_omniglot.checkpoint import Checkpoint, load_checkpoint
from l2l_omniglot.errors import RunError, did_you_mean
from l2l_omniglot.pretrained import (
    Card,
    list_pretrained,
    load_pretrained_checkpoint,
    pretrained_names,
)
from l2l_omniglot.run import resolve_checkpoint


def find_weights(source: str | Path) -> Checkpoint:
    """The checkpoint meant by a run folder, a checkpoint file or a name of pretrained weights.

    Raises:
        RunError: if there is none, or it is broken.
    """
    path = Path(source)
    if path.exists():
        return load_checkpoint(resolve_checkpoint(path))
    names = pretrained_names()
    if str(source) in names:
        return load_pretrained_checkpoint(str(source))
    raise RunError(
        f"{source}: no such run folder or checkpoint, nor pretrained weights; of those there are "
        f"{', '.join(names) or 'none'}{did_you_mean(str(source), names)}"
    )


def weights_for(ways: int) -> str:
    """The name of the pretrained weights for one shot that suit so many classes best.

    Those trained for about as many classes, then the most accurate of them.

    Raises:
        RunError: if no weights come along.
    """
    cards = [card for card in list_pretrained() if card.trained.shots == 1]
    if not cards:
        raise RunError("no pretrained weights come along; needed a run")
    return min(cards, key=lambda card: _unlike(card, ways)).name


def _unlike(card: Card, ways: int) -> tuple[float, float]:
    return abs(math.log(card.trained.ways / ways)), -card.accuracy["inductive"]["accuracy"]
