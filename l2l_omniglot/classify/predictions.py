"""Predictions for pictures, as a table, JSON or CSV; loads no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from scipy.special import betaincinv

from l2l_omniglot._util.text import csv_text, encodable, finite, percent, shown, table


@dataclass(frozen=True)
class Prediction:
    """The prediction for one picture.

    Attributes:
        file: of the picture.
        probabilities: by class, in [0, 1], summing to 1.
        truth: the true class, if it is known.
    """

    file: Path
    probabilities: dict[str, float]
    truth: str | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def probability(self) -> float:
        """The probability of that class."""
        return self.probabilities[self.label]


@dataclass(frozen=True)
class Predictions:
    """The predictions for all pictures.

    Attributes:
        entries: in the order of the pictures.
        names: of the classes.
        steps: gradient steps on the support set.
        batch_norm: ``inductive`` or ``transductive``.
        trained_ways: number of classes in training.
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
        """The number of pictures whose class is known."""
        return sum(entry.truth is not None for entry in self.entries)

    @property
    def correct(self) -> int:
        """The number of those that are predicted correctly."""
        return sum(entry.truth == entry.label for entry in self.entries)

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval over pictures, in [0, 1] (Clopper and Pearson 1934)."""
        right, wrong = self.correct, self.known - self.correct
        low = betaincinv(right, wrong + 1, 0.025) if right else 0.0
        high = betaincinv(right + 1, wrong, 0.975) if wrong else 1.0
        return float(low), float(high)


def predictions_table(found: Predictions) -> str:
    """Formats one row per picture, and the accuracy if classes are known."""
    header = ["picture", "class", "probability"] + (["truth"] if found.known else [])
    rows = []
    for entry in found.entries:
        rows.append([shown(entry.file), shown(entry.label), percent(entry.probability)])
        if found.known:
            mark = " (wrong)" if entry.truth not in {None, entry.label} else ""
            rows[-1].append(shown(entry.truth or "") + mark)
    parts = [table(header, rows)]
    if found.known:
        low, high = found.interval
        parts.append(
            f"{found.correct} of {found.known} correct: {percent(found.correct / found.known)} "
            f"(95 % interval {percent(low)} to {percent(high)}, {found.batch_norm} batch norm)"
        )
    if found.fitted:
        parts.append("The pictures were centred and scaled as Omniglot's drawings are.")
    return "\n\n".join(parts)


def predictions_json(found: Predictions) -> str:
    """Formats one JSON object; probabilities in [0, 1]."""
    entries = [
        {
            "picture": str(entry.file), "class": entry.label, "probability": entry.probability,
            "probabilities": entry.probabilities, "truth": entry.truth,
        }
        for entry in found.entries
    ]  # fmt: skip
    known = found.known or None
    body = {
        "classes": found.names, "steps": found.steps, "batch_norm": found.batch_norm,
        "trained_ways": found.trained_ways, "fitted": found.fitted,
        "accuracy": known and found.correct / known,
        "interval95": known and list(found.interval),
        "predictions": entries,
    }  # fmt: skip
    return json.dumps(finite(body), allow_nan=False)


def predictions_csv(found: Predictions) -> str:
    """Formats one line per picture, with one column per class: its probability in [0, 1]."""
    columns = {name: f"p({encodable(name)})" for name in found.names}
    rows: list[dict[str, object]] = [
        {"picture": encodable(entry.file), "class": encodable(entry.label)}
        | {"truth": encodable(entry.truth or "")}
        | {columns[name]: value for name, value in entry.probabilities.items()}
        for entry in found.entries
    ]
    return csv_text(list(rows[0]), rows).rstrip("\n")


FORMS = {"table": predictions_table, "json": predictions_json, "csv": predictions_csv}
