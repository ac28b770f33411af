"""Contact sheet of what a network saw of pictures, under the classes it predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from l2l_omniglot._util.text import counted, shown
from l2l_omniglot.reports.contact_sheet import ContactSheet, Pixels, Row

ACROSS = 4, 10  # support pictures and queries in one line
LONGEST = 24  # letters of a class's name


class Answer(NamedTuple):
    """What the network saw of a query, uint8 (H, W); the predicted class; the true one if known."""

    seen: Pixels
    predicted: str
    truth: str | None


def prediction_sheet(
    weights: str, support: Sequence[tuple[Pixels, str]], answers: Sequence[Answer]
) -> ContactSheet:
    """Shows each class with its support pictures, and the queries predicted as it.

    Those that are wrong are framed in red, with their true class.

    Args:
        weights: their name.
        support: what the network saw of each support picture, uint8 (H, W), and its class.
        answers: to the queries.
    """
    rows: list[Row] = []
    labels = [label for _, label in support] + [answer.predicted for answer in answers]
    for name in dict.fromkeys(labels):
        few = [seen for seen, label in support if label == name]
        rows += _lines(name, few, [answer for answer in answers if answer.predicted == name])
    known = [answer for answer in answers if answer.truth is not None]
    title = f"{weights}: {counted(len(answers), 'picture')}"
    if known:
        right = sum(answer.truth == answer.predicted for answer in known)
        title += f", {right} of {len(known)} correct; wrong ones in red, with their class"
    return ContactSheet(title, ("support", "predicted as that class"), tuple(rows))


def _lines(name: str, support: list[Pixels], queries: list[Answer]) -> list[Row]:
    """The lines of one class, only the first of which has its name."""
    short = shown(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…")
    lines = max(-(-len(support) // ACROSS[0]), -(-len(queries) // ACROSS[1]))
    rows = []
    for number in range(lines):
        few, some = (slice(number * most, (number + 1) * most) for most in ACROSS)
        answers = queries[some]
        wrong = {
            (1, i): shown(a.truth or "")
            for i, a in enumerate(answers)
            if a.truth not in {None, name}
        }
        groups = tuple(support[few]), tuple(answer.seen for answer in answers)
        rows.append(Row("" if number else short, groups, wrong))
    return rows
