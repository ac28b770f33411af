"""Contact sheet of what a network saw of pictures, under the classes it predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from l2l_omniglot._util.text import counted, shown
from l2l_omniglot.data.drawing import PHOTOGRAPH, Drawing
from l2l_omniglot.data.frame import PAPER
from l2l_omniglot.data.pictures import Look
from l2l_omniglot.reports.contact_sheet import SIDE, ContactSheet, Pixels, Row

ACROSS = 4, 10  # support pictures and queries in one line
LONGEST = 24  # letters of a class's name
STEPS = "taken", "sheet", "ink", "seen"


class Answer(NamedTuple):
    """The look of a query, its predicted class, and the true one if it is known."""

    look: Look
    predicted: str
    truth: str | None


def prediction_sheet(
    weights: str, support: Sequence[tuple[Look, str]], answers: Sequence[Answer]
) -> ContactSheet:
    """Shows each class with its support pictures, and the queries predicted as it.

    Those that are wrong are framed in red, with their true class. If there are photographs, each
    picture is shown step by step, one line below the other: as it was taken, the sheet of paper,
    the ink, and what the network saw.

    Args:
        weights: their name.
        support: the look of each support picture, and its class.
        answers: to the queries.
    """
    looks = [look for look, _ in support] + [answer.look for answer in answers]
    steps = STEPS if any(PHOTOGRAPH in look.picture.steps for look in looks) else STEPS[-1:]
    rows: list[Row] = []
    labels = [label for _, label in support] + [answer.predicted for answer in answers]
    for name in dict.fromkeys(labels):
        few = [look for look, label in support if label == name]
        of_it = [answer for answer in answers if answer.predicted == name]
        rows += _lines(name, few, of_it, steps)
    known = [answer for answer in answers if answer.truth is not None]
    title = f"{weights}: {counted(len(answers), 'picture')}"
    if known:
        right = sum(answer.truth == answer.predicted for answer in known)
        title += f", {right} of {len(known)} correct"
        title += "; wrong ones in red, with their class" if right < len(known) else ""
    return ContactSheet(title, ("support", "predicted as that class"), tuple(rows))


def _lines(
    name: str, support: list[Look], queries: list[Answer], steps: Sequence[str]
) -> list[Row]:
    """Returns the lines of one class, the first of which has its name."""
    short = shown(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…")
    lines = max(-(-len(support) // ACROSS[0]), -(-len(queries) // ACROSS[1]))
    rows = []
    for number in range(lines):
        few, some = (slice(number * most, (number + 1) * most) for most in ACROSS)
        answers = queries[some]
        wrong = {
            (1, place): shown(answer.truth or "")
            for place, answer in enumerate(answers)
            if answer.truth not in {None, name}
        }
        for step in steps:
            groups = (
                tuple(_tile(look, step) for look in support[few]),
                tuple(_tile(answer.look, step) for answer in answers),
            )
            label = "" if number else short
            label = f"{label}  {step}".strip() if len(steps) > 1 else label
            rows.append(Row(label, groups, wrong if step == steps[-1] else {}))
            short = "" if len(steps) > 1 else short
    return rows


def _tile(look: Look, step: str) -> Pixels:
    """Returns one step of a picture: uint8 (H, W), or (H, W, 3) in colour."""
    if step == "seen" or not isinstance(look.picture, Drawing):
        return look.seen
    side = look.seen.shape[0] * max(1, SIDE // look.seen.shape[0])
    drawing = look.picture
    shown = {"taken": drawing.taken, "sheet": drawing.picture, "ink": drawing.ink}[step]
    return np.asarray(padded(shown, side))


def padded(picture: Image.Image, side: int) -> Image.Image:
    """Scales a picture to fit a square of so many pixels a side, and fills that with paper."""
    paper = (PAPER,) * len(picture.getbands())
    padded: Image.Image = ImageOps.pad(picture, (side, side), Image.Resampling.BOX, color=paper)
    return padded
