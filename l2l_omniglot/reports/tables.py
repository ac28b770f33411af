"""Results as tables, Markdown, CSV and JSON; loads no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.text import (
    Mark,
    counted,
    csv_text,
    decimal,
    finite,
    markdown,
    percent,
    table,
)

if TYPE_CHECKING:
    from l2l_omniglot.experiments.reproduce import ConditionResult
    from l2l_omniglot.meta.baselines import Baseline
    from l2l_omniglot.meta.evaluation import Evaluation


def reproduction_markdown(results: Sequence[ConditionResult]) -> str:
    """Formats the comparison as a Markdown table, with published figures beside ours."""
    rows = []
    for result in results:
        condition, published = result.condition, result.published
        rows.append([
            result.protocol, condition.setting, condition.backbone, condition.algorithm,
            condition.recipe, f"{result.iteration:,} of {result.settings.iterations:,}",
            f"{result.best:,}", f"{result.minutes:.1f}",
            *(percent(c.accuracy, c.ci95) for c in result.evaluation.curves.values()),
            str(published or ""),
        ])  # fmt: skip
    keys = ("protocol", "setting", "backbone", "algorithm", "recipe")
    header = (*keys, "iterations", "best at", "minutes", *results[0].evaluation.curves, "published")
    return markdown(header, rows) + f"\n{_about(results)}.\n"


def reproduction_table(results: Sequence[ConditionResult]) -> str:
    """Formats the comparison for a terminal: accuracies, and which trainings are unfinished."""
    curves = results[0].evaluation.curves
    header = ["protocol", "setting", "backbone", "algorithm", *curves]
    rows, notes = [], []
    for result in results:
        condition, published = result.condition, result.published
        rows.append([
            result.protocol, condition.setting, condition.backbone, condition.algorithm,
            *(f"{100 * c.accuracy:.2f} ± {100 * c.ci95:.2f}"
              for c in result.evaluation.curves.values()),
        ])  # fmt: skip
        if published:
            where = f"{result.protocol}, {condition.setting}, {condition.algorithm}"
            notes.append(f"{where}: {published}")
        if result.iteration < result.settings.iterations:
            left = f"{result.iteration:,} of {result.settings.iterations:,} iterations"
            notes.append(f"{condition.name}: {left} so far")
    below = "".join(f"\n{note}" for note in dict.fromkeys(notes))
    return f"{table(header, rows)}\n\n{_about(results)}, in %.{below}"


def _about(results: Sequence[ConditionResult]) -> str:
    evaluation = results[0].evaluation
    steps = counted(evaluation.steps, "step")
    return f"{evaluation.tasks} test tasks, after {steps}, 95 % intervals"


def reproduction_csv(results: Sequence[ConditionResult]) -> str:
    """Formats the comparison as CSV, one line per condition; accuracies in [0, 1]."""
    rows = []
    for result in results:
        row = {k: v for k, v in result.to_dict().items() if not isinstance(v, dict)}
        for mode, curve in result.evaluation.curves.items():
            row |= {f"{mode}_accuracy": curve.accuracy, f"{mode}_ci95": curve.ci95}
        published = result.published
        row["published"] = published.accuracy / 100 if published else None
        rows.append(row)
    return csv_text(list(rows[0]), rows)


def write_results(results: Sequence[ConditionResult], folder: Path) -> None:
    """Writes ``results.json``, ``results.csv``, ``results.md`` and the plot ``steps.png``."""
    from l2l_omniglot.reports.plots import plot_steps

    body = json.dumps([result.to_dict() for result in results], indent=1)
    write_text(folder / "results.json", body + "\n")
    write_text(folder / "results.csv", reproduction_csv(results))
    write_text(folder / "results.md", reproduction_markdown(results))
    evaluations = {result.condition.name: result.evaluation for result in results}
    plot_steps(evaluations, folder / "steps.png")


def evaluation_table(result: Evaluation, mark: Mark = str) -> str:
    """Lists accuracy, its interval and loss after every step, for each mode.

    The highest accuracy of each mode is passed through `mark`.
    """
    header, best = ["step"], []
    rows = [[str(step)] for step in range(result.steps + 1)]
    for mode, curve in result.curves.items():
        accuracies = curve.accuracy_per_step
        best.append((max(range(len(rows)), key=accuracies.__getitem__), len(header)))
        header += [mode, "95 % interval", "loss"]
        columns = zip(accuracies, curve.ci95_per_step, curve.loss_per_step, strict=True)
        for row, (accuracy, ci95, loss) in zip(rows, columns, strict=True):
            row += [percent(accuracy), f"± {100 * ci95:.2f}", decimal(loss, 4)]
    return table(header, rows, mark, best)


def baselines_table(baselines: dict[str, Baseline]) -> str:
    """Lists accuracies on the same tasks without an inner loop."""
    rows = [
        (name, percent(baseline.accuracy, baseline.ci95)) for name, baseline in baselines.items()
    ]
    return table(("without adapting", "accuracy"), rows)


def one_shot_runs_table(result: Evaluation, names: Sequence[str]) -> str:
    """Lists the error of every run, and their mean with its interval, one column per mode."""
    header = ["run", *(f"error, {mode}" for mode in result.curves)]
    rows = [
        [name, *(percent(1 - curve.accuracy_per_task[number]) for curve in result.curves.values())]
        for number, name in enumerate(names)
    ]
    total = (percent(1 - curve.accuracy, curve.ci95) for curve in result.curves.values())
    return table(header, [*rows, ["mean", *total]])


def one_shot_runs_json(result: Evaluation, names: Sequence[str], **about: Any) -> str:
    """Formats one JSON object: for each mode the mean error, its interval, the error of every run.

    Errors are fractions in [0, 1].
    """
    body = {"protocol": "lake", **about, "steps": result.steps}
    for mode, curve in result.curves.items():
        errors = [_error(accuracy) for accuracy in curve.accuracy_per_task]
        per_run = dict(zip(names, errors, strict=True))
        body[mode] = {"error": _error(curve.accuracy), "ci95": curve.ci95, "error_per_run": per_run}
    return json.dumps(finite(body), allow_nan=False)


def _error(accuracy: float) -> float:
    """Returns the fraction that is wrong, without the rounding error of the difference."""
    return round(1 - accuracy, 12)


def evaluation_json(result: Evaluation, baselines: dict[str, Baseline], **about: Any) -> str:
    """Formats one JSON object: `about` (ways, shots, ..., weights), then the figures.

    Those of the first mode of batch normalisation are at the top level, and those of every mode
    under its name. Accuracies are fractions in [0, 1]; the lists have steps + 1 entries.
    """
    names = "accuracy", "ci95", "loss", "accuracy_per_step", "ci95_per_step", "loss_per_step"
    figures: dict[str, dict[str, Any]] = {
        mode: {name: getattr(curve, name) for name in names}
        for mode, curve in result.curves.items()
    }
    body = {"tasks": result.tasks, **about, "steps": result.steps, "batch_norm": result.batch_norm}
    body |= figures[result.batch_norm] | figures
    if baselines:
        body["baselines"] = {name: vars(baseline) for name, baseline in baselines.items()}
    return json.dumps(finite(body), allow_nan=False)
