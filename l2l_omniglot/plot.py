"""Plots of results, by matplotlib (extra ``plot``)."""

from __future__ import annotations

from pathlib import Path

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.evaluation import Evaluation
from l2l_omniglot.files import atomic_write


def check_plotting() -> None:
    """Says what to install where matplotlib is not there, before hours of training.

    Raises:
        SettingsError: if it is not there.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "the plot needs matplotlib: pip install 'l2l-omniglot[plot]'"
        ) from error


def plot_steps(results: dict[str, Evaluation], path: Path) -> None:
    """Accuracy after each inner step with its 95 % interval, one panel a mode, as a PNG.

    Args:
        results: by the name of their line.
        path: of the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    modes = list(next(iter(results.values())).curves)
    figure = Figure(figsize=(5 * len(modes), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for panel, mode in zip(panels, modes, strict=True):
        for name, result in results.items():
            curve = result.curves[mode]
            panel.errorbar(
                range(result.steps + 1),
                [100 * accuracy for accuracy in curve.accuracy_per_step],
                [100 * half for half in curve.ci95_per_step],
                marker="o",
                markersize=3,
                capsize=2,
                label=name,
            )
        panel.set_title(f"{mode} batch norm")
        panel.set_xlabel("inner steps")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy, %")
    panels[0].legend(fontsize="small")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
