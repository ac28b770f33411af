"""One HTML file about one or more runs: figures, plots, mistakes, tasks, and how to repeat it."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.text import counted, percent
from l2l_omniglot.data.stack import span
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import need
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.run_folder import MetricsRow, versions
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.experiments.weights import History, as_typed, train_command
from l2l_omniglot.meta.evaluation import Evaluation, half_width, mean
from l2l_omniglot.reports import plots as plot
from l2l_omniglot.reports.confusions import Character, Pair, TaskPredictions, confused, hardest
from l2l_omniglot.reports.contact_sheet import as_pixels, class_name, of_label, task_sheet, to_image

EXAMPLES = 5  # pictures of a character
MISTAKEN = 6  # pictures of mistakes of a pair, at most


@dataclass(frozen=True)
class Subject:
    """A run, or other weights, evaluated for the report.

    Attributes:
        name: different from that of every other subject.
        source: as given on the command line.
        history: how the weights were trained.
        settings: of that training.
        experiment: in which they were evaluated, possibly on other data.
        facts: of the checkpoint, see `Checkpoint`.
        iteration: number of meta-updates behind the weights.
        tasks: the stream of tasks they were evaluated on.
        evaluation: its results.
        predictions: what the queries were predicted as.
        notes: differences of data and split from those of the training.
    """

    name: str
    source: str
    history: History
    settings: Settings
    experiment: Experiment
    facts: dict[str, Any]
    iteration: int
    tasks: Tasks
    evaluation: Evaluation
    predictions: Sequence[TaskPredictions]
    notes: tuple[str, ...] = ()

    @property
    def stream(self) -> tuple[Any, ...]:
        """A key that is equal for two subjects if they are evaluated on the same tasks."""
        tasks, data = self.tasks, self.tasks.dataset
        sizes = tasks.ways, tasks.shots, tasks.queries, tasks.seed, tasks.name
        return data.stack.sha256, data.classes, len(data), sizes

    def differences(self, other: Subject) -> dict[str, tuple[float, float]] | None:
        """Returns by mode how much better it is than the other, with the interval's half width.

        None unless both are evaluated on the same tasks.
        """
        if self.stream != other.stream:
            return None
        found = {}
        for mode, curve in self.evaluation.curves.items():
            theirs = other.evaluation.curves[mode].accuracy_per_task
            gains = [a - b for a, b in zip(curve.accuracy_per_task, theirs, strict=True)]
            found[mode] = mean(gains), half_width(gains)
        return found

    def samples(self, count: int) -> list[TaskPredictions]:
        """Picks the first tasks, and last the one with most mistakes."""
        chosen = list(self.predictions[: max(0, count - 1)])
        mode = self.evaluation.batch_norm
        rest = [task for task in self.predictions if task not in chosen]
        worst = min(rest, key=lambda task: task.accuracy(mode), default=None)
        return [*chosen, *([worst] if worst and count else [])]


def unlike(names: Sequence[str]) -> list[str]:
    """Numbers the names that occurred before."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        found.append(f"{name} ({number})" if name in found else name)
    return found


def renamed(subjects: Sequence[Subject]) -> list[Subject]:
    """Gives each subject a name of its own."""
    names = unlike([subject.name for subject in subjects])
    return [dataclasses.replace(s, name=name) for s, name in zip(subjects, names, strict=True)]


@dataclass(frozen=True)
class Amounts:
    """The numbers of sample tasks, hardest characters and confused pairs to show per run."""

    samples: int = 3
    characters: int = 12
    pairs: int = 8


def check_reporting() -> None:
    """Checks that matplotlib and jinja2 are installed.

    Raises:
        SettingsError: if one is not; says what to install.
    """
    for package in ("matplotlib", "jinja2"):
        need(package, "the report", "report")


def write_report(
    subjects: Sequence[Subject], path: Path, commands: Sequence[str], amounts: Amounts
) -> None:
    """Writes the report.

    Args:
        subjects: one or more; all evaluated in the same modes of batch normalisation.
        path: of the HTML file.
        commands: command lines that evaluate the subjects again, and that make the report.
        amounts: how much to show.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("l2l_omniglot.reports"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = percent
    first = subjects[0]
    text = environment.get_template("report.html").render(
        title=first.name if len(subjects) == 1 else f"{len(subjects)} runs compared",
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        subjects=[_subject(subject, first, amounts) for subject in subjects],
        modes=list(first.evaluation.curves),
        mode=first.evaluation.batch_norm,
        several=len(subjects) > 1,
        compared=len({subject.stream for subject in subjects}) == 1,
        steps=_steps_plots(subjects),
        learning=_learning_plots(subjects),
        settings=_settings(subjects),
        versions=versions(),
        commands=commands,
    )
    write_text(path, text)


def write_pictures(subjects: Sequence[Subject], folder: Path, samples: int) -> list[Path]:
    """Writes the plots and sample tasks as PNG files, and returns their paths."""
    paths = [folder / "steps.png"]
    plot.plot_steps({subject.name: subject.evaluation for subject in subjects}, paths[0])
    rows = _learning_rows(subjects)
    if rows:
        paths.append(folder / "learning.png")
        plot.plot_learning(rows, paths[-1])
    for place, subject in enumerate(subjects, 1):
        for task in subject.samples(samples):
            paths.append(folder / f"run{place}-task{task.number}.png")
            to_image(task_sheet(subject.tasks, task.number)).save(paths[-1], "png")
    return paths


def _subject(subject: Subject, first: Subject, amounts: Amounts) -> dict[str, Any]:
    tasks, mode = subject.tasks, subject.evaluation.batch_norm
    stack, found, past = subject.experiment.stack, subject.predictions, subject.history
    return {
        **vars(subject),
        "data": subject.experiment.settings.data,
        "stack": stack,
        "images_per_class": span(stack.images_per_class),
        "chance": 1 / tasks.ways,
        "differences": None if subject is first else subject.differences(first),
        "characters": [_character(tasks, c) for c in hardest(found, mode, amounts.characters)],
        "pairs": [_pair(tasks, pair) for pair in confused(found, mode, amounts.pairs)],
        "samples": [_sample(tasks, task, mode) for task in subject.samples(amounts.samples)],
        "train": past.commands or [train_command(subject.settings)],
        "sessions": [s | {"command": as_typed(s["command"])} for s in past.sessions],
        "colour": "grey" if stack.channels == 1 else "coloured",
    }


def _character(tasks: Tasks, found: Character) -> dict[str, Any]:
    common = found.predicted_as.most_common(2)
    return {
        "name": class_name(tasks, found.label),
        "found": found,
        "predicted_as": [(class_name(tasks, label), times) for label, times in common],
        "pictures": _examples(tasks, found.label),
    }


def _pair(tasks: Tasks, pair: Pair) -> dict[str, Any]:
    queries = [tasks[number].query[place] for number, place in pair.examples[:MISTAKEN]]
    return {
        "found": pair,
        "names": [class_name(tasks, label) for label in pair.labels],
        "pictures": [_examples(tasks, label) for label in pair.labels],
        "mistakes": _pngs(tasks, torch.stack(queries)),
    }


def _sample(tasks: Tasks, found: TaskPredictions, mode: str) -> dict[str, Any]:
    """Gathers a task's pictures, and what each query was predicted as."""
    task, rows = tasks[found.number], []
    for label, number in enumerate(found.classes):
        support, query = (_pngs(tasks, images) for images in of_label(task, label))
        pairs = zip(found.labels, found.predictions[mode], strict=True)
        predicted = [prediction for own, prediction in pairs if own == label]
        queries = list(zip(query, predicted, strict=True))
        name = class_name(tasks, number)
        rows.append({"label": label, "name": name, "support": support, "query": queries})
    return {"number": found.number, "rows": rows, "accuracy": found.accuracy(mode)}


def _examples(tasks: Tasks, label: int) -> list[str]:
    """Draws the first pictures of a class."""
    return _pngs(tasks, tasks.dataset.gather(tasks.dataset.indices_of(label)[:EXAMPLES]))


def _settings(subjects: Sequence[Subject]) -> list[tuple[str, list[str], bool]]:
    """Lists name, values, and whether they differ; those that differ first."""
    every = [
        # 0 validation classes stand for a number that depends on the data.
        s.settings.to_dict() | {"validation_classes": len(s.experiment.splits.validation)}
        for s in subjects
    ]
    rows = []
    for name in every[0]:
        values = [_value(settings[name]) for settings in every]
        rows.append((name.replace("_", " "), values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row[2])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value) or "none"


def _steps_plots(subjects: Sequence[Subject]) -> list[dict[str, str]]:
    """Plots accuracy by inner step, one plot per mode."""
    results = {subject.name: subject.evaluation for subject in subjects}
    plots = []
    for mode in subjects[0].evaluation.curves:
        curves = {name: result.curves[mode] for name, result in results.items()}
        ends = "; ".join(
            f"{name} from {percent(curve.accuracy_per_step[0])} before to "
            f"{percent(curve.accuracy, curve.ci95)} after {counted(results[name].steps, 'step')}"
            for name, curve in curves.items()
        )
        about = {"title": f"{mode} batch norm", "alt": f"Accuracy by inner step, {mode}: {ends}."}
        plots.append(about | _looks(partial(plot.steps_svg, results, mode)))
    return plots


def _learning_plots(subjects: Sequence[Subject]) -> list[dict[str, str]]:
    """Plots accuracy and loss over a training; nothing where no run has metrics."""
    runs = _learning_rows(subjects)
    plots = []
    for measure in plot.MEASURES if runs else ():
        ends = "; ".join(
            f"{name} "
            + ", ".join(
                f"{getattr(row, f'validation_{measure}'):.3f} at iteration {row.iteration}"
                for row in (rows[0], rows[-1])
            )
            for name, rows in runs.items()
        )
        about = {"title": measure, "alt": f"Validation {measure} during training: {ends}."}
        plots.append(about | _looks(partial(plot.learning_svg, runs, measure)))
    return plots


def _learning_rows(subjects: Sequence[Subject]) -> dict[str, Sequence[MetricsRow]]:
    """Returns the metrics of those that have some, by name."""
    return {subject.name: subject.history.rows for subject in subjects if subject.history.rows}


def _looks(draw: Callable[[plot.Look], bytes]) -> dict[str, str]:
    """Draws a plot for light and for dark paper."""
    looks = {"light": plot.LIGHT, "dark": plot.DARK}
    return {name: _uri("image/svg+xml", draw(look)) for name, look in looks.items()}


def _pngs(tasks: Tasks, images: torch.Tensor) -> list[str]:
    """Turns images of a task, (B, channels, H, W), into addresses for <img>."""
    found = []
    for pixels in as_pixels(images, tasks.dataset.stack):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "png", optimize=True)
        found.append(_uri("image/png", out.getvalue()))
    return found


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
