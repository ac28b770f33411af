"""Trained weights by run folder, file, name, or for a number of classes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from l2l_omniglot.errors import RunError, did_you_mean
from l2l_omniglot.pretrained import (
    Card,
    list_pretrained,
    load_pretrained_checkpoint,
    pretrained_names,
)
from l2l_omniglot.run import resolve_checkpoint

if TYPE_CHECKING:  # names and paths are looked up without torch
    from l2l_omniglot.checkpoint import Checkpoint


def find_weights(source: str | Path | None = None) -> Checkpoint:
    """Decides which weights are meant, and loads them.

    Args:
        source: a name of pretrained weights, a run folder (its best weights), a checkpoint file,
            or None: the newest run. A `Path`, or a text such as ``./NAME``, is never a name.

    Raises:
        RunError: if there are none, they are broken, or a name is a path here, too.
    """
    names = pretrained_names()
    if isinstance(source, str) and source in names:
        if Path(source).exists():
            raise RunError(
                f"{source}: pretrained weights and a path here have this name; expected "
                f"./{source} for the path"
            )
        return load_pretrained_checkpoint(source)
    if source is not None and not Path(source).exists():
        raise RunError(
            f"{source}: no such run folder or checkpoint, nor pretrained weights; of those there "
            f"are {', '.join(names) or 'none'}{did_you_mean(str(source), names)}"
        )
    path = resolve_checkpoint(None if source is None else Path(source))  # before torch is loaded
    from l2l_omniglot.checkpoint import load_checkpoint

    return load_checkpoint(path)


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
