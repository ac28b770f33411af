"""Trained weights taken over by a network of as many or another number of ways."""

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
    import torch
    from torch import nn

    from l2l_omniglot.checkpoint import Checkpoint
    from l2l_omniglot.learner import Learner


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
    path = resolve_checkpoint(None if source is None else Path(source))
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


def take_over(learner: Learner, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights, and inner rates of the learner's kind, into it, in place.

    A head for another number of ways gets the mean of the trained rows in each of its own.
    Which class of a training task a row stands for is drawn anew for each task, so what
    meta-training has to say of one row it says of all; they differ by the last few tasks.

    Raises:
        RunError: if the weights do not fit, other than in the number of ways.
    """
    from l2l_omniglot.checkpoint import write_weights

    weights = _resized(checkpoint.weights, learner.backbone)
    write_weights(learner.backbone, weights, checkpoint.source)
    rates = _resized(checkpoint.rates, learner.rates)
    if set(rates) == {name for name, _ in learner.rates.named_parameters()}:
        write_weights(learner.rates, rates, checkpoint.source)


def _resized(weights: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights, those of the head with as many rows as the module's."""
    own = dict([*module.named_parameters(), *module.named_buffers()])
    found = dict(weights)
    for name, weight in weights.items():
        rows = own[name].shape[:1] if name in own else weight.shape[:1]
        if rows != weight.shape[:1]:
            found[name] = weight.mean(dim=0, keepdim=True).expand(*rows, *weight.shape[1:])
    return found
