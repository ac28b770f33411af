"""Plots of results, drawn by matplotlib (extra ``plot``)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from l2l_omniglot._util.files import atomic_write
from l2l_omniglot._util.text import counted
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.meta.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = ("accuracy", "loss")
MARKERS = "osD^vP"
FEW = 40  # curves with fewer points have markers
PANEL = (5.0, 3.4)  # inches


class Look(NamedTuple):
    """The colours of a plot on light or dark paper: text, grid lines, and one colour per run."""

    ink: str
    faint: str
    runs: tuple[str, ...]


LIGHT = Look(
    "#30363d", "#c9cfd6", ("#1f6f9f", "#c2542f", "#4d7c3a", "#7b559b", "#94700a", "#4a5568")
)
DARK = Look(
    "#d5dae0", "#454c55", ("#74b9e6", "#f0926f", "#98ca85", "#c5a3e0", "#dfc05a", "#aab4c4")
)


class Learning(NamedTuple):
    """The metrics of a run, and the inner steps after which training and validation measure."""

    rows: Sequence[MetricsRow]
    train_steps: int
    validation_steps: int

    def label(self, part: str) -> str:
        """Names ``train`` or ``validation``; with its steps, where those of the other differ."""
        if self.train_steps == self.validation_steps:
            return part
        steps = self.train_steps if part == "train" else self.validation_steps
        return f"{part} after {counted(steps, 'step')}"


def plot_steps(results: dict[str, Evaluation], path: Path) -> None:
    """Plots accuracy after each inner step with its 95 % interval, one panel per mode, as PNG.

    Args:
        results: by the name shown in the legend.
        path: of the file.
    """
    modes = list(next(iter(results.values())).curves)
    figure = _drawn(_steps, results, modes, LIGHT)
    for panel, mode in zip(figure.axes, modes, strict=True):
        panel.set_title(f"{mode} batch norm")
        panel.label_outer()
    _save(figure, path)


def plot_learning(runs: Mapping[str, Learning], path: Path) -> None:
    """Plots training and validation accuracy and loss over iterations, as PNG.

    Args:
        runs: the metrics of each run, by its name.
        path: of the file.
    """
    _save(_drawn(learning, runs, MEASURES, LIGHT), path)


def steps_svg(results: dict[str, Evaluation], mode: str, look: Look) -> bytes:
    """Draws one panel of `plot_steps`, on a transparent background, as SVG.

    Those of all modes have the same axes.
    """
    return svg(_drawn(_steps, results, [mode], look))


def learning_svg(runs: Mapping[str, Learning], measure: str, look: Look) -> bytes:
    """Draws the panel of `plot_learning` for one of `MEASURES`, likewise, as SVG."""
    return svg(_drawn(learning, runs, [measure], look))


def _steps(panel: Axes, results: dict[str, Evaluation], mode: str, look: Look) -> None:
    styles = zip(cycle(look.runs), cycle(MARKERS), results.items(), strict=False)
    for colour, marker, (name, result) in styles:
        curve = result.curves[mode]
        panel.errorbar(
            range(result.steps + 1),
            [100 * accuracy for accuracy in curve.accuracy_per_step],
            [100 * half for half in curve.ci95_per_step],
            color=colour, marker=marker, markersize=4, capsize=2.5,
            # The legend leaves out labels that begin with an underscore.
            label=f" {name}" if name.startswith("_") else name,
        )  # fmt: skip
    panel.locator_params(axis="x", integer=True)
    panel.set_ylim(*_limits(results))
    dress(panel, look, "inner steps", "accuracy, %", legend=len(results) > 1)


def _limits(results: dict[str, Evaluation]) -> tuple[float, float]:
    """Returns the ends of the axis of accuracies, %, which all modes of all results fit."""
    ends = [
        100 * (middle + sign * half)
        for result in results.values()
        for curve in result.curves.values()
        for middle, half in zip(curve.accuracy_per_step, curve.ci95_per_step, strict=True)
        for sign in (-1, 1)
    ]
    edge = max(0.05 * (max(ends) - min(ends)), 0.5)
    return min(ends) - edge, max(ends) + edge


def learning(panel: Axes, runs: Mapping[str, Learning], measure: str, look: Look) -> None:
    """Draws training and validation over iterations, of one of `MEASURES`, by run.

    A run without metrics takes a colour, but is not drawn.
    """
    factor = 100 if measure == "accuracy" else 1
    styles = zip(cycle(look.runs), cycle(MARKERS), runs.items(), strict=False)
    for colour, shape, (name, run) in styles:
        rows = run.rows
        if not rows:  # the others keep the colours that they have elsewhere
            continue
        about = f", {name}" if len(runs) > 1 else ""
        validated = [row for row in rows if row.validated]
        for part, line, points in (("train", ":", rows), ("validation", "-", validated)):
            at = [row.iteration for row in points]
            values = [factor * getattr(row, f"{part}_{measure}") for row in points]
            marker = shape if len(points) < FEW else ""
            filled = "none" if part == "train" else colour  # tells single points apart, too
            panel.plot(
                at, values, label=run.label(part) + about, color=colour, linestyle=line,
                marker=marker, markersize=4, markerfacecolor=filled,
            )  # fmt: skip
        if measure == "accuracy":
            middle = [factor * row.validation_accuracy for row in validated]
            half = [factor * row.validation_ci95 for row in validated]
            low, high = ([m + s * h for m, h in zip(middle, half, strict=True)] for s in (-1, 1))
            panel.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
            if len(validated) < FEW:
                panel.errorbar(at, middle, half, color=colour, linestyle="", capsize=2.5)
    label = "accuracy, %" if measure == "accuracy" else "loss, nats"
    panel.set_xlim(left=0)
    dress(panel, look, "iteration", label, legend=True)


def dress(panel: Axes, look: Look, across: str, up: str, legend: bool) -> None:
    """Labels and colours everything but the lines."""
    panel.set_xlabel(across, color=look.ink)
    panel.set_ylabel(up, color=look.ink)
    panel.tick_params(colors=look.ink, which="both")
    panel.grid(color=look.faint, alpha=0.6, linewidth=0.6)
    for side, spine in panel.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(look.faint)
    if legend:
        names = panel.legend(fontsize="small", frameon=False, labelcolor=look.ink)
        for text in names.get_texts():
            text.set_parse_math(False)  # a name with dollar signs is not a formula


def _drawn(draw: Callable[..., None], runs: Any, parts: Sequence[str], look: Look) -> Figure:
    """Draws one panel for each part."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL[0] * len(parts), PANEL[1]), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for panel, part in zip(panels, parts, strict=True):
        draw(panel, runs, part, look)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def svg(figure: Figure, paper: bool = False) -> bytes:
    """Returns a figure as SVG, on its own paper or none; the same text each time."""
    import matplotlib as mpl

    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "l2l-omniglot", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", transparent=not paper, metadata={"Date": None})
    return out.getvalue()
