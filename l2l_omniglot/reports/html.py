"""One HTML file about one or more runs: figures, plots, mistakes, tasks, and how to repeat it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.text import counted, encodable, percent
from l2l_omniglot.data.stack import Stack, span
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.run_folder import versions
from l2l_omniglot.experiments.weights import History, as_typed, train_command
from l2l_omniglot.meta.evaluation import Evaluation, half_width, mean
from l2l_omniglot.reports import plots as plot
from l2l_omniglot.reports.confusions import TaskPredictions, confused, hardest
from l2l_omniglot.reports.contact_sheet import as_pixels, class_name, task_sheet, to_image
from l2l_omniglot.reports.steps import earlier_step


@dataclass(frozen=True)
class Subject:
    """A run, or other weights, evaluated for the report."""

    name: str  # different from that of every other subject
    source: str  # as given on the command line
    history: History  # how the weights were trained
    checkpoint: Checkpoint
    experiment: Experiment  # in which they were evaluated, possibly on other data
    tasks: Tasks  # the stream of tasks they were evaluated on
    evaluation: Evaluation  # its results
    predictions: Sequence[TaskPredictions]  # what the queries were predicted as
    difference: str = ""  # of data or split from those of the training

    @property
    def stream(self) -> tuple[Any, ...]:
        """Returns a key that is equal for two subjects if they are evaluated on the same tasks."""
        tasks, data = self.tasks, self.tasks.dataset
        sizes = tasks.ways, tasks.shots, tasks.queries, tasks.seed, tasks.name
        return data.stack.sha256, data.classes, len(data), sizes

    def differences(self, other: Subject) -> dict[str, tuple[float, float]] | None:
        """Returns by mode how much better it is than the other, with the interval's half width.

        None unless both are evaluated on the same tasks.
        """
        if self.stream != other.stream:
            return None
        differences = {}
        for mode, curve in self.evaluation.curves.items():
            theirs = other.evaluation.curves[mode].accuracy_per_task
            gains = [a - b for a, b in zip(curve.accuracy_per_task, theirs, strict=True)]
            differences[mode] = mean(gains), half_width(gains)
        return differences

    def samples(self, count: int) -> list[TaskPredictions]:
        """Picks the first tasks, and last the one with most mistakes."""
        chosen = list(self.predictions[: max(0, count - 1)])
        mode = self.evaluation.batch_norm
        rest = [task for task in self.predictions if task not in chosen]
        worst = min(rest, key=lambda task: task.accuracy(mode), default=None)
        return [*chosen, *([worst] if worst and count else [])]


def unlike(names: Sequence[str]) -> list[str]:
    """Numbers the names that occurred before."""
    unique: list[str] = []
    for number, name in enumerate(names, 1):
        unique.append(f"{name} ({number})" if name in unique else name)
    return unique


def write_report(
    subjects: Sequence[Subject], path: Path, commands: Sequence[str], **amounts: int
) -> None:
    """Writes the report.

    Args:
        subjects: one or more; all evaluated in the same modes of batch normalisation.
        path: of the HTML file.
        commands: command lines that evaluate the subjects again, and that make the report.
        amounts: numbers of ``samples`` (tasks), ``characters`` and ``pairs`` to show of each.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("l2l_omniglot.reports"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    functions = class_name, confused, earlier_step, hardest, pngs, uri
    for function in (*functions, as_typed, counted, percent, span, train_command, zip):
        environment.globals[function.__name__] = function
    text = environment.get_template("report.html").render(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        subjects=subjects,
        amounts=amounts,
        evaluations={subject.name: subject.evaluation for subject in subjects},
        learning=_learning(subjects),
        plot=plot,
        settings=_settings(subjects),
        versions=versions(),
        commands=commands,
    )
    write_text(path, encodable(text))  # with the names of files


def write_pictures(subjects: Sequence[Subject], folder: Path, samples: int) -> list[Path]:
    """Writes the plots and sample tasks as PNG files, and returns their paths."""
    paths = [folder / "steps.png"]
    plot.plot_steps({subject.name: subject.evaluation for subject in subjects}, paths[0])
    rows = _learning(subjects)
    if rows:
        paths.append(folder / "learning.png")
        plot.plot_learning(rows, paths[-1])
    for place, subject in enumerate(subjects, 1):
        for task in subject.samples(samples):
            paths.append(folder / f"run{place}-task{task.number}.png")
            to_image(task_sheet(subject.tasks, task.number)).save(paths[-1], "png")
    return paths


def _settings(subjects: Sequence[Subject]) -> list[tuple[str, list[str], bool]]:
    """Lists name, values, and whether they differ; those that differ first."""
    every = [
        # 0 validation classes stand for a number that depends on the data.
        s.checkpoint.settings.to_dict()
        | {"validation_classes": len(s.experiment.splits.validation)}
        | {"test_classes": len(s.experiment.splits.test)}
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


def _learning(subjects: Sequence[Subject]) -> dict[str, plot.Learning]:
    """Returns the metrics by name, some of them maybe none; empty if nobody has any."""
    runs = {}
    for subject in subjects:
        settings = subject.checkpoint.settings
        steps = settings.inner_steps, settings.eval_steps
        runs[subject.name] = plot.Learning(subject.history.rows, *steps)
    return runs if any(run.rows for run in runs.values()) else {}


def pngs(stack: Stack, images: torch.Tensor) -> list[str]:
    """Turns images of a stack, (B, channels, H, W), into addresses for <img>."""
    addresses = []
    for pixels in as_pixels(images, stack):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "png", optimize=True)
        addresses.append(uri(out.getvalue(), "image/png"))
    return addresses


def uri(content: bytes, kind: str) -> str:
    """Writes an image as an address for <img>."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
