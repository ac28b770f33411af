"""Writes the pictures of docs/results.md from what is stored: cards and tables.

Run `python -m tools.results_pictures` after a change to one of them; a test compares the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2l_omniglot._util.files import atomic_write
from l2l_omniglot.experiments.card import CONFIG, Result, read_card
from l2l_omniglot.experiments.protocols import SETTINGS
from l2l_omniglot.experiments.published import published_figure
from l2l_omniglot.experiments.weights import FOLDER
from l2l_omniglot.reports.plots import LIGHT, MARKERS, dress, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
FOLDER_OF_PICTURES = DOCS / "pictures"
PAPER = "#f7f7fa"  # behind every picture, so that it can be read on a dark page, too
HEIGHT, WIDTH = 3.8, 8.6  # inches
LABELS = [f"{ways}-way\n{shots}-shot" for ways, shots in SETTINGS.values()]
SNELL, FINN = ("snell", "vinyals", "inductive"), ("finn", "random", "transductive")
FAMILY = "maml", "fomaml", "reptile", "meta-sgd", "anil"  # named for their algorithm
NETWORKS = "conv4", "resnet8"
# By name: protocol, split and mode of batch normalisation.
PROTOCOLS = {
    "Snell et al., inductive": SNELL,
    "ours, transductive": ("ours", "tutorial", "transductive"),
    "ours, inductive": ("ours", "tutorial", "inductive"),
}


class Line(NamedTuple):
    """Accuracies in % and half widths of their 95 % intervals, at places of the axis across."""

    name: str
    places: list[float]
    accuracies: list[float]
    halves: list[float]


def read_table(page: Path, first: str) -> list[Line]:
    """Reads the lines of a table, one per column, from the page's table with this first cell.

    Cells read `95.67 ± 0.43 %`; the first column holds the places.
    """
    rows = [
        [cell.strip(" *").replace("`", "") for cell in row.strip().strip("|").split("|")]
        for row in re.findall(rf"^\| {first} \|.*\n(?:^\|.*\n)+", page.read_text("utf-8"), re.M)[0]
        .strip()
        .split("\n")
    ]
    names, body = rows[0][1:], rows[2:]
    places = [float(row[0]) for row in body]
    lines = []
    for column, name in enumerate(names, 1):
        cells = [re.fullmatch(r"([\d.]+) ± ([\d.]+) %", row[column]) for row in body]
        figures = [(float(cell[1]), float(cell[2])) for cell in cells if cell]
        accuracies, halves = map(list, zip(*figures, strict=True))
        lines.append(Line(name, places, accuracies, halves))
    return lines


def read_protocols(name: str) -> list[Line]:
    """Reads a line per protocol, over `SETTINGS`, from the card of pretrained weights."""
    return [
        read_own(name, label, kind, 0.16 * (place - 1))
        for place, (label, kind) in enumerate(PROTOCOLS.items())
    ]


def read_own(name: str, label: str, kind: tuple[str, str, str], shift: float = 0.0) -> Line:
    """Reads what pretrained weights reach by a protocol, over `SETTINGS`, from their card."""
    results = read_card(FOLDER / name / CONFIG).results

    def one(setting: str) -> Result:
        key = *kind, setting
        return next(r for r in results if (r.protocol, r.split, r.batch_norm, r.setting) == key)

    by_setting = [one(setting) for setting in SETTINGS]
    figures = [100 * r.accuracy for r in by_setting], [100 * r.ci95 for r in by_setting]
    return Line(label, [number + shift for number in range(len(SETTINGS))], *figures)


def read_published(algorithm: str, kind: tuple[str, str, str], shift: float) -> Line:
    """Reads what an algorithm's paper has by a protocol, over `SETTINGS`."""
    by_setting = [published_figure(kind[0], algorithm, setting) for setting in SETTINGS]
    places = [number + shift for number, figure in enumerate(by_setting) if figure]
    figures = [figure for figure in by_setting if figure]
    label = f"published: {figures[0].by.split(',')[0]}"
    return Line(label, places, [f.accuracy for f in figures], [f.interval for f in figures])


def draw_lines(panel: Axes, lines: Sequence[Line], style: str = "-") -> None:
    """Draws lines with their intervals."""
    for colour, marker, line in zip(LIGHT.runs, MARKERS, lines, strict=False):
        panel.errorbar(
            line.places, line.accuracies, line.halves, label=line.name, color=colour, marker=marker,
            linestyle=style, markersize=4.5, capsize=3, linewidth=1.4,
        )  # fmt: skip


def draw_published(panel: Axes, line: Line, colour: str = LIGHT.runs[-1]) -> None:
    """Draws a paper's figures, with their intervals where it has any."""
    halves = [half or float("nan") for half in line.halves] if any(line.halves) else None
    panel.errorbar(
        line.places, line.accuracies, halves,
        label=line.name, color=colour, marker="_", linestyle="", markersize=11, capsize=3,
    )  # fmt: skip


def legend_below(panel: Axes, columns: int = 2) -> None:
    """Names what is drawn below the panel, where no mark can be."""
    panel.legend(
        fontsize="small", frameon=False, labelcolor=LIGHT.ink, ncols=columns,
        loc="upper center", bbox_to_anchor=(0.5, -0.17),
    )  # fmt: skip


def panels(title: str, count: int) -> tuple[Figure, list[Axes]]:
    """Makes a figure with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor=PAPER)
    figure.suptitle(title, color=LIGHT.ink, fontsize="large")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for panel in axes:
        panel.set_facecolor(PAPER)
    return figure, axes


def over_ways() -> Figure:
    """Plots accuracy over the number of classes."""
    figure, (panel,) = panels("One example each: accuracy by number of classes", 1)
    draw_lines(panel, read_table(DOCS / "predict.md", "classes"))
    dress(panel, LIGHT, "ways (classes to tell apart)", "accuracy, %", legend=True)
    return figure


def over_steps() -> Figure:
    """Plots accuracy after each inner step: of all, and from the first step on enlarged."""
    figure, (whole, part) = panels("MAML: accuracy after each inner step", 2)
    lines = read_table(DOCS / "results.md", "step")
    draw_lines(whole, lines)
    draw_lines(part, [Line(line.name, *(part[1:] for part in line[1:])) for line in lines])
    for panel, title in ((whole, "all"), (part, "from the first step on")):
        panel.set_title(title, color=LIGHT.ink, fontsize="medium")
        panel.locator_params(axis="x", integer=True)
        dress(panel, LIGHT, "inner steps", "accuracy, %", legend=True)
    return figure


def protocols() -> Figure:
    """Plots the same weights tested by several protocols."""
    figure, both = panels("The same weights under three protocols", 2)
    for panel, name in zip(both, ("resnet8", "conv4"), strict=True):
        draw_lines(panel, read_protocols(name), style="")
        draw_published(panel, read_published("protonet", SNELL, -0.32))
        panel.set_xticks(range(4), LABELS)
        panel.set_ylim(94.6, 100.1)
        panel.set_title(name, color=LIGHT.ink, fontsize="medium")
        dress(panel, LIGHT, "", "accuracy, %", legend=False)
        legend_below(panel)
    return figure


def front() -> Figure:
    """Plots weights that come along beside the papers whose protocols test them."""
    figure, both = panels("On new Omniglot characters: ours and published", 2)
    family, prototypes = both
    lines = [read_own(name, name, FINN, 0.17 * place - 0.3) for place, name in enumerate(FAMILY)]
    draw_lines(family, lines, style="")
    for place, (name, colour) in enumerate(zip(FAMILY, LIGHT.runs, strict=False)):
        draw_published(family, read_published(name, FINN, 0.17 * place - 0.37), colour)
    lines = [read_own(name, name, SNELL, 0.2 * place) for place, name in enumerate(NETWORKS)]
    draw_lines(prototypes, lines, style="")
    draw_published(prototypes, read_published("protonet", SNELL, -0.2))
    titles = "The MAML family, as Finn et al. test", "Prototypical networks, as Snell et al. test"
    for panel, title in zip(both, titles, strict=True):
        panel.set_xticks(range(4), LABELS)
        panel.set_title(title, color=LIGHT.ink, fontsize="medium")
        dress(panel, LIGHT, "", "accuracy, %", legend=False)
        legend_below(panel)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "results-front.svg": front,
    "results-protocols.svg": protocols,
    "results-ways.svg": over_ways,
    "results-steps.svg": over_steps,
}


def drawn(name: str) -> bytes:
    """Returns the content of a picture's file."""
    return svg(PICTURES[name](), paper=True)


def main() -> None:
    """Runs the tool."""
    for name in PICTURES:
        with atomic_write(FOLDER_OF_PICTURES / name) as file:
            file.write(drawn(name))


if __name__ == "__main__":
    main()
