"""Pictures and plots that stand in an HTML file itself, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial

from PIL import Image

from l2l_omniglot import plot
from l2l_omniglot.grid import Pixels
from l2l_omniglot.report import percent
from l2l_omniglot.subjects import Subject
from l2l_omniglot.text import counted


def steps_plots(subjects: Sequence[Subject]) -> list[dict[str, str]]:
    """A plot a mode."""
    results = {subject.name: subject.evaluation for subject in subjects}
    plots = []
    for mode in subjects[0].evaluation.curves:
        ends = "; ".join(
            f"{name} from {percent(curve.accuracy_per_step[0])} before to "
            f"{percent(curve.accuracy, curve.ci95)} after {counted(result.steps, 'step')}"
            for name, result in results.items()
            for curve in (result.curves[mode],)
        )
        about = {"title": f"{mode} batch norm", "alt": f"Accuracy by inner step, {mode}: {ends}."}
        plots.append(about | _looks(partial(plot.steps_svg, results, mode)))
    return plots


def learning_plots(subjects: Sequence[Subject]) -> list[dict[str, str]]:
    """Plots of accuracy and of loss; none where no run has metrics."""
    runs = {subject.name: subject.history.rows for subject in subjects if subject.history.rows}
    if not runs:
        return []
    plots = []
    for measure in plot.MEASURES:
        ends = "; ".join(
            f"{name} {getattr(rows[0], f'validation_{measure}'):.3f} at iteration "
            f"{rows[0].iteration}, {getattr(rows[-1], f'validation_{measure}'):.3f} at iteration "
            f"{rows[-1].iteration}"
            for name, rows in runs.items()
        )
        about = {"title": measure, "alt": f"Validation {measure} while training: {ends}."}
        plots.append(about | _looks(partial(plot.learning_svg, runs, measure)))
    return plots


def _looks(draw: Callable[[plot.Look], bytes]) -> dict[str, str]:
    """A plot for light and for dark paper."""
    looks = {"light": plot.LIGHT, "dark": plot.DARK}
    return {name: _uri("image/svg+xml", draw(look)) for name, look in looks.items()}


def png(pixels: Pixels) -> str:
    """A picture as the address of an <img>."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png", optimize=True)
    return _uri("image/png", out.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
