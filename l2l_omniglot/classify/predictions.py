"""Predictions for a person's own pictures, as a table, JSON or CSV."""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.special import betaincinv

from l2l_omniglot._util.text import (
    columns,
    counted,
    csv_text,
    finite,
    listed,
    percent,
    shortened,
    shown,
    table,
)
from l2l_omniglot.data.pictures import Look

NONE_OF_THESE = "none of these"
WIDEST = 78  # columns of a matrix of classes
LEAST_NAME = 12  # columns left of a picture's path, or of a class's name


@dataclass(frozen=True)
class Prediction:
    """The prediction for one picture.

    Attributes:
        file: of the picture.
        probabilities: by class, in [0, 1], summing to 1.
        truth: the true class, if it is known.
        unlike: whether it seems to be of no class, see `Classifier.none_of_these`.
        rejected: whether it is therefore predicted as `NONE_OF_THESE`.
        steps: of the picture's preparation, see `Preparation.steps`.
        doubt: see `Drawing`.
    """

    file: Path
    probabilities: dict[str, float]
    truth: str | None = None
    unlike: bool = False
    rejected: bool = False
    steps: Sequence[str] = ()
    doubt: str = ""

    @property
    def likeliest(self) -> str:
        """Returns the most probable class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def label(self) -> str:
        """Returns the most probable class, or `NONE_OF_THESE`."""
        return NONE_OF_THESE if self.rejected else self.likeliest

    @property
    def probability(self) -> float:
        """Returns the probability of the most probable class, if it is any."""
        return self.probabilities[self.likeliest]


@dataclass(frozen=True)
class Predictions:
    """The predictions for all pictures.

    Attributes:
        entries: in the order of the pictures.
        calibrated: whether the weights know how sure they are.
        names: of the classes.
        weights: name of the weights.
        algorithm: that trained them.
        steps: gradient steps on the support set.
        batch_norm: ``inductive`` or ``transductive``.
        prepared: what was done to how many pictures, in one sentence; empty if nothing was.
        doubts: one sentence a picture, of support and queries, in which the ink may be wrong.
        support_looks: of the support pictures.
        support_classes: theirs.
        query_looks: of the pictures.
    """

    entries: list[Prediction]
    calibrated: bool
    names: list[str]
    weights: str
    algorithm: str
    steps: int
    batch_norm: str
    prepared: str
    doubts: tuple[str, ...]
    support_looks: list[Look]
    support_classes: list[str]
    query_looks: list[Look]

    @property
    def known(self) -> int:
        """Returns the number of pictures whose class is known."""
        return sum(entry.truth is not None for entry in self.entries)

    @property
    def correct(self) -> int:
        """Returns the number of those that are predicted correctly."""
        return sum(entry.truth == entry.label for entry in self.entries)

    @property
    def interval(self) -> tuple[float, float]:
        """Returns the accuracy's 95 % interval, in [0, 1] (Clopper and Pearson 1934)."""
        right, wrong = self.correct, self.known - self.correct
        low = betaincinv(right, wrong + 1, 0.025) if right else 0.0
        high = betaincinv(right + 1, wrong, 0.975) if wrong else 1.0
        return float(low), float(high)

    @property
    def confusions(self) -> dict[str, dict[str, int]]:
        """Counts pictures by true class, then by predicted class; of known classes only."""
        counts = Counter((entry.truth, entry.label) for entry in self.entries if entry.truth)
        rejected = any(entry.rejected for entry in self.entries)
        predicted = [*self.names, *([NONE_OF_THESE] if rejected else [])]
        true = [name for name in self.names if any(counts[name, other] for other in predicted)]
        return {name: {other: counts[name, other] for other in predicted} for name in true}


def predictions_table(predictions: Predictions, top: int = 1, width: int = 0) -> str:
    """Formats `top` rows per picture, and the accuracy where classes are known.

    Args:
        predictions: the predictions.
        top: classes to name of each picture, the most probable first; at least 1.
        width: columns of the terminal, for which long paths are cut at their start, and then long
            names of classes in the middle; 0: as needed.
    """
    top = min(top, len(predictions.names))
    parts = [_pictures(predictions, top, width, _room(predictions, top, width))]
    if predictions.known:
        low, high = predictions.interval
        correct, known = predictions.correct, predictions.known
        parts.append(
            f"{correct} of {known} correct: {percent(correct / known)} (95 % interval "
            f"{percent(low)} to {percent(high)}, {predictions.batch_norm} batch norm)"
        )
        parts.append(_confusions(predictions, width))
    steps = counted(predictions.steps, "inner step") if predictions.steps else "no inner steps"
    sure = "" if predictions.calibrated else "; probabilities not calibrated"
    parts.append(
        f"Weights: {predictions.weights}, trained by {predictions.algorithm}; {steps}{sure}."
    )
    unlike = [entry for entry in predictions.entries if entry.unlike]
    if unlike and not any(entry.rejected for entry in unlike):
        named = listed([shown(entry.file) for entry in unlike])
        parts.append(f"Unlike all classes (--reject says so in the table): {named}.")
    if predictions.prepared:
        parts.append(predictions.prepared)
    if predictions.doubts:
        parts.append(f"Doubtful: {'; '.join(map(shown, predictions.doubts))}.")
    return "\n\n".join(filter(None, parts))  # no matrix: many classes, and all right


def _room(predictions: Predictions, top: int, width: int) -> int:
    """Returns the columns of a class's name with which the pictures' table fits; 0: as needed."""
    if not width:
        return 0
    longest = max(columns(shown(name)) for name in predictions.names)
    rooms = range(LEAST_NAME, max(LEAST_NAME, longest) + 1)
    fitting = bisect(
        rooms, width, key=lambda room: columns(_pictures(predictions, top, 1, room).split("\n")[1])
    )
    return rooms[max(0, fitting - 1)]


def _pictures(predictions: Predictions, top: int, width: int, room: int) -> str:
    header = ["picture", "class", "probability", *(["truth"] if predictions.known else [])]
    rows = []
    for entry in predictions.entries:
        best = sorted(entry.probabilities.items(), key=lambda item: -item[1])[:top]
        cells = [[shortened(shown(name), room), percent(value)] for name, value in best]
        lines = [[NONE_OF_THESE, ""]] if entry.rejected else cells
        if predictions.known:
            mark = " (wrong)" if entry.truth not in {None, entry.label} else ""
            truth = shortened(shown(entry.truth or ""), room) + mark
            lines = [[*lines[0], truth], *([*line, ""] for line in lines[1:])]
        rows += [[shown(entry.file), *lines[0]], *(["", *line] for line in lines[1:])]
    rest = columns(table(header[1:], [row[1:] for row in rows]).split("\n")[1])
    left = max(LEAST_NAME, width - rest - 2) if width else 0
    return table(header, [[shortened(row[0], left, start=0), *row[1:]] for row in rows])


def _confusions(predictions: Predictions, width: int) -> str:
    """Formats a matrix of true and predicted classes; of many, only the mistakes."""
    counts = predictions.confusions
    names = [shown(name) for name in next(iter(counts.values()))]
    rows = [[shown(name), *map(str, counts[name].values())] for name in counts]
    matrix = table(["true class, predicted:", *names], rows)
    if columns(matrix.split("\n")[0]) <= WIDEST:
        return matrix
    pairs = Counter({(a, b): n for a in counts for b, n in counts[a].items() if n and a != b})
    header = ["true class", "predicted", "pictures"]
    room = max(LEAST_NAME, (width - len(header[2]) - 4) // 2) if width else 0
    lines = [
        [shortened(shown(a), room), shortened(shown(b), room), str(n)]
        for (a, b), n in pairs.most_common()
    ]
    return table(header, lines) if lines else ""


def predictions_json(predictions: Predictions) -> str:
    """Formats one JSON object with the probabilities of all classes, in [0, 1]."""
    entries = [
        {
            "picture": str(entry.file), "class": entry.label, "probability": entry.probability,
            "probabilities": entry.probabilities, "truth": entry.truth,
            "unlike_all": entry.unlike, "steps": list(entry.steps), "doubt": entry.doubt,
        }
        for entry in predictions.entries
    ]  # fmt: skip
    known = predictions.known or None
    body = {
        "classes": predictions.names, "weights": predictions.weights,
        "algorithm": predictions.algorithm, "steps": predictions.steps,
        "batch_norm": predictions.batch_norm, "calibrated": predictions.calibrated,
        "prepared": predictions.prepared, "doubts": list(predictions.doubts),
        "accuracy": known and predictions.correct / known,
        "interval95": known and list(predictions.interval),
        "confusions": known and predictions.confusions,
        "predictions": entries,
    }  # fmt: skip
    return json.dumps(finite(body), allow_nan=False)


def predictions_csv(predictions: Predictions) -> str:
    """Formats one line per picture, with one column per class: its probability in [0, 1]."""
    named = {name: f"p({shown(name)})" for name in predictions.names}
    rows: list[dict[str, object]] = [
        {"picture": shown(entry.file), "class": shown(entry.label)}
        | {"truth": shown(entry.truth or ""), "unlike_all": int(entry.unlike)}
        | {named[name]: value for name, value in entry.probabilities.items()}
        for entry in predictions.entries
    ]
    return csv_text(list(rows[0]), rows).rstrip("\n")
