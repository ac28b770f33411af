"""What people and programs read of a result; knows no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2l_omniglot.evaluation import Evaluation


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest entry, two spaces apart."""
    widths = [max(len(entry) for entry in column) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def evaluation_table(result: Evaluation) -> str:
    """Accuracy with its interval, and loss, after every step."""
    columns = zip(result.accuracy_per_step, result.ci95_per_step, result.loss_per_step, strict=True)
    rows = [
        (str(step), f"{100 * accuracy:.2f} %", f"± {100 * ci95:.2f}", f"{loss:.4f}")
        for step, (accuracy, ci95, loss) in enumerate(columns)
    ]
    return table(("step", "accuracy", "95 % interval", "loss"), rows)


def evaluation_json(result: Evaluation, **about: Any) -> str:
    """One JSON object: `about` (ways, shots, ..., checkpoint), then the figures.

    Accuracies are fractions in [0, 1]; ``accuracy_per_step`` has steps + 1 entries.
    """
    body = {
        "tasks": result.tasks,
        **about,
        "steps": result.steps,
        "batch_norm": result.batch_norm,
        "accuracy": result.accuracy,
        "ci95": result.ci95,
        "loss": result.loss,
        "accuracy_per_step": result.accuracy_per_step,
        "ci95_per_step": result.ci95_per_step,
        "loss_per_step": result.loss_per_step,
    }
    return json.dumps({name: _finite(value) for name, value in body.items()}, allow_nan=False)


def _finite(value: Any) -> Any:
    """NaN and infinity as None: JSON has neither."""
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
