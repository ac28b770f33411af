"""What the network says of pictures, for people and programs; knows no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scipy.special import betaincinv

from l2l_omniglot._util.text import csv_text, encodable, finite, percent, shown, table


@dataclass(frozen=True)
class Prediction:
    """What the network says of one picture.

    Attributes:
        file: of the picture.
        probabilities: by class, in [0, 1], summing to 1.
        truth: the class it is of, where that is known.
    """

    file: Path
    probabilities: dict[str, float]
    truth: str | None = None

    @property
    def label(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.probabilities[self.label]


@dataclass(frozen=True)
class Predictions:
    """What it says of all.

    Attributes:
        entries: in the order of the pictures.
        names: of the classes.
        steps: gradient steps on the support set.
        batch_norm: ``inductive`` or ``transductive``.
        trained_ways: that the network was trained for.
        fitted: whether the pictures were centred and scaled.
    """

    entries: list[Prediction]
    names: list[str]
    steps: int
    batch_norm: str
    trained_ways: int
    fitted: bool

    @property
    def known(self) -> int:
        """How many pictures' classes are known."""
        return sum(entry.truth is not None for entry in self.entries)

    @property
    def correct(self) -> int:
        """How many of those are predicted correctly."""
        return sum(entry.truth == entry.label for entry in self.entries)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy over pictures, in [0, 1] (Clopper and Pearson 1934)."""
        right, wrong = self.correct, self.known - self.correct
        low = betaincinv(right, wrong + 1, 0.025) if right else 0.0
        high = betaincinv(right + 1, wrong, 0.975) if wrong else 1.0
        return float(low), float(high)


def predictions_table(found: Predictions) -> str:
    """A line a picture; the accuracy where classes are known."""
    header = ["picture", "class", "probability"] + (["truth"] if found.known else [])
    rows = [
        [shown(entry.file), shown(entry.label), percent(entry.probability)]
        + ([_judged(entry)] if found.known else [])
        for entry in found.entries
    ]
    notes = [_accuracy(found)] if found.known else []
    if found.fitted:
        notes.append("The pictures were centred and scaled as Omniglot's drawings are.")
    return "\n\n".join([table(header, rows), *notes])


def _judged(entry: Prediction) -> str:
    wrong = entry.truth is not None and entry.truth != entry.label
    return f"{shown(entry.truth or '')}{' (wrong)' if wrong else ''}"


def _accuracy(found: Predictions) -> str:
    low, high = found.interval
    return (
        f"{found.correct} of {found.known} right: {percent(found.correct / found.known)} (95 % "
        f"interval {percent(low)} to {percent(high)}, {found.batch_norm} batch norm)"
    )


def predictions_json(found: Predictions) -> str:
    """One JSON object; probabilities in [0, 1]."""
    entries = [
        {
            "picture": str(entry.file),
            "class": entry.label,
            "probability": entry.probability,
            "probabilities": entry.probabilities,
            "truth": entry.truth,
        }
        for entry in found.entries
    ]
    known = found.known or None
    body = {
        "classes": found.names,
        "steps": found.steps,
        "batch_norm": found.batch_norm,
        "trained_ways": found.trained_ways,
        "fitted": found.fitted,
        "accuracy": known and found.correct / known,
        "interval95": known and list(found.interval),
        "predictions": entries,
    }
    return json.dumps(finite(body), allow_nan=False)


def predictions_csv(found: Predictions) -> str:
    """A line a picture; a column a class with its probability in [0, 1]."""
    columns = {name: f"p({encodable(name)})" for name in found.names}
    rows: list[dict[str, object]] = [
        {
            "picture": encodable(entry.file),
            "class": encodable(entry.label),
            "truth": encodable(entry.truth or ""),
        }
        | {columns[name]: value for name, value in entry.probabilities.items()}
        for entry in found.entries
    ]
    return csv_text(list(rows[0]), rows).rstrip("\n")


FORMS: dict[str, Callable[[Predictions], str]] = {
    "table": predictions_table,
    "json": predictions_json,
    "csv": predictions_csv,
}
