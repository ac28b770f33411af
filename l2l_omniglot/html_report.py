"""One HTML file on one or more runs: figures, plots, mistakes, tasks, and how to repeat it."""

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

from PIL import Image

from l2l_omniglot import plot
from l2l_omniglot.evaluation import Curve, Evaluation, half_width, mean
from l2l_omniglot.experiment import Experiment
from l2l_omniglot.extras import need
from l2l_omniglot.files import write_text
from l2l_omniglot.grid import Pixels, as_pixels, class_name, of_label, task_grid, to_image
from l2l_omniglot.history import History, as_typed, train_command
from l2l_omniglot.mistakes import Answer, Answers, Pair, confused, hardest
from l2l_omniglot.recipes import Settings
from l2l_omniglot.report import percent
from l2l_omniglot.run import versions
from l2l_omniglot.tasks import Tasks

EXAMPLES = 5  # pictures of a character
MISTAKEN = 6  # pictures of mistakes of a pair, at most


@dataclass(frozen=True)
class Subject:
    """A run, or other weights, as evaluated for the report.

    Attributes:
        name: unlike that of every other subject.
        source: as the command line named it.
        history: how the weights came about.
        settings: that the weights were trained with.
        experiment: that they were evaluated in, maybe on other data.
        facts: of the checkpoint, see `Checkpoint`.
        iteration: meta-updates behind the weights.
        tasks: that it was evaluated on.
        evaluation: what they gave.
        answers: what their queries were taken for.
        notes: in what data and split differ from those of the training.
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
    answers: Answers
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Amounts:
    """How much the report shows: sample tasks, hardest characters and confused pairs a run."""

    samples: int = 3
    characters: int = 12
    pairs: int = 8


def check_reporting() -> None:
    """Says what to install where matplotlib or jinja2 is not there.

    Raises:
        SettingsError: if one is not there.
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
        amounts: of what there is most of.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("l2l_omniglot"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    text = environment.get_template("report.html").render(_context(subjects, commands, amounts))
    write_text(path, text)


def write_pictures(subjects: Sequence[Subject], folder: Path, samples: int) -> list[Path]:
    """Writes the plots and sample tasks as PNG files.

    Returns:
        Their paths.
    """
    paths = [folder / "steps.png"]
    plot.plot_steps({subject.name: subject.evaluation for subject in subjects}, paths[0])
    rows = {subject.name: subject.history.rows for subject in subjects if subject.history.rows}
    if rows:
        paths.append(folder / "learning.png")
        plot.plot_learning(rows, paths[-1])
    for place, subject in enumerate(subjects, 1):
        for answer in _samples(subject, samples):
            paths.append(folder / f"run{place}-task{answer.number}.png")
            to_image(task_grid(subject.tasks, answer.number)).save(paths[-1], "png")
    return paths


def _context(
    subjects: Sequence[Subject], commands: Sequence[str], amounts: Amounts
) -> dict[str, Any]:
    """What the template is given."""
    first = subjects[0]
    return {
        "title": first.name if len(subjects) == 1 else f"{len(subjects)} runs compared",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "subjects": [_subject(subject, first, amounts) for subject in subjects],
        "modes": list(first.evaluation.curves),
        "mode": first.evaluation.batch_norm,
        "several": len(subjects) > 1,
        "compared": len({_stream(subject.tasks) for subject in subjects}) == 1,
        "steps": _steps_plots(subjects),
        "learning": _learning_plots(subjects),
        "settings": _settings(subjects),
        "versions": versions(),
        "commands": commands,
    }


def _subject(subject: Subject, first: Subject, amounts: Amounts) -> dict[str, Any]:
    tasks, evaluation = subject.tasks, subject.evaluation
    mode = evaluation.batch_norm
    return {
        "name": subject.name,
        "history": subject.history,
        "settings": subject.settings,
        "data": subject.experiment.settings.data,
        "facts": subject.facts,
        "iteration": subject.iteration,
        "tasks": tasks,
        "stack": subject.experiment.stack,
        "evaluation": evaluation,
        "chance": 1 / tasks.ways,
        "differences": None if subject is first else _differences(subject, first),
        "notes": subject.notes,
        "characters": [
            {
                "name": class_name(tasks, found.label),
                "found": found,
                "taken_for": [
                    (class_name(tasks, label), times)
                    for label, times in found.taken_for.most_common(2)
                ],
                "pictures": _examples(tasks, found.label),
            }
            for found in hardest(subject.answers, mode, amounts.characters)
        ],
        "pairs": [_pair(tasks, pair) for pair in confused(subject.answers, mode, amounts.pairs)],
        "samples": [_sample(tasks, answer, mode) for answer in _samples(subject, amounts.samples)],
        "train": train_command(subject.settings),
        "sessions": [
            {**session, "command": as_typed(session["command"])}
            for session in subject.history.sessions
        ],
        "colour": "grey" if subject.experiment.stack.channels == 1 else "coloured",
    }


def _stream(tasks: Tasks) -> tuple[Any, ...]:
    """Equal where two streams have the same tasks."""
    data = tasks.dataset
    sizes = tasks.ways, tasks.shots, tasks.queries, tasks.seed, tasks.name
    return data.stack.sha256, data.classes, len(data), sizes


def _differences(subject: Subject, first: Subject) -> dict[str, tuple[float, float]] | None:
    """By mode, how much better than the first on the same tasks, and the interval's half width."""
    if _stream(subject.tasks) != _stream(first.tasks):
        return None

    def difference(own: Curve, other: Curve) -> tuple[float, float]:
        pairs = zip(own.accuracy_per_task, other.accuracy_per_task, strict=True)
        values = [one - two for one, two in pairs]
        return mean(values), half_width(values)

    others = first.evaluation.curves
    return {
        mode: difference(curve, others[mode]) for mode, curve in subject.evaluation.curves.items()
    }


def _samples(subject: Subject, count: int) -> list[Answer]:
    """The first tasks, and last the one with most mistakes."""
    chosen = list(subject.answers[: max(0, count - 1)])
    mode = subject.evaluation.batch_norm
    rest = [answer for answer in subject.answers if answer not in chosen]
    worst = min(rest, key=lambda answer: answer.right(mode), default=None)
    return [*chosen, *([worst] if worst and count else [])]


def _sample(tasks: Tasks, answer: Answer, mode: str) -> dict[str, Any]:
    """A task with its pictures, and what each query was taken for."""
    task = tasks[answer.number]
    rows = []
    for label, number in enumerate(answer.classes):
        support, query = (
            [_png(pixels) for pixels in as_pixels(images, tasks.dataset.stack)]
            for images in of_label(task, label)
        )
        predictions = zip(answer.labels, answer.predictions[mode], strict=True)
        taken = [prediction for own, prediction in predictions if own == label]
        rows.append(
            {
                "label": label,
                "name": class_name(tasks, number),
                "support": support,
                "query": list(zip(query, taken, strict=True)),
            }
        )
    return {"number": answer.number, "rows": rows, "right": answer.right(mode)}


def _pair(tasks: Tasks, pair: Pair) -> dict[str, Any]:
    mistakes = []
    for number, place in pair.examples[:MISTAKEN]:
        image = tasks[number].query[place : place + 1]
        mistakes.append(_png(as_pixels(image, tasks.dataset.stack)[0]))
    return {
        "found": pair,
        "names": [class_name(tasks, label) for label in pair.labels],
        "pictures": [_examples(tasks, label) for label in pair.labels],
        "mistakes": mistakes,
    }


def _examples(tasks: Tasks, label: int) -> list[str]:
    """The first pictures of a class."""
    items = tasks.dataset.stack.items
    images = tasks.dataset.gather([label * items + item for item in range(min(EXAMPLES, items))])
    return [_png(pixels) for pixels in as_pixels(images, tasks.dataset.stack)]


def _steps_plots(subjects: Sequence[Subject]) -> list[dict[str, str]]:
    """A plot a mode."""
    results = {subject.name: subject.evaluation for subject in subjects}
    plots = []
    for mode in subjects[0].evaluation.curves:
        ends = "; ".join(
            f"{name} from {percent(curve.accuracy_per_step[0])} before to "
            f"{percent(curve.accuracy, curve.ci95)} after {result.steps} steps"
            for name, result in results.items()
            for curve in (result.curves[mode],)
        )
        about = {"title": f"{mode} batch norm", "alt": f"Accuracy by inner step, {mode}: {ends}."}
        plots.append(about | _looks(partial(plot.steps_svg, results, mode)))
    return plots


def _learning_plots(subjects: Sequence[Subject]) -> list[dict[str, str]]:
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


def _settings(subjects: Sequence[Subject]) -> list[tuple[str, list[str], bool]]:
    """Name, values, and whether they differ; those that differ first."""
    all_of = [subject.settings.to_dict() for subject in subjects]
    rows = []
    for name in all_of[0]:
        values = [_value(settings[name]) for settings in all_of]
        rows.append((name.replace("_", " "), values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row[2])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value) or "none"


def _png(pixels: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png", optimize=True)
    return _uri("image/png", out.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def unlike(names: Sequence[str]) -> list[str]:
    """The names, later ones that stand there already with their number behind them."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        found.append(f"{name} ({number})" if name in found else name)
    return found


def renamed(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, each with a name of its own."""
    names = unlike([subject.name for subject in subjects])
    pairs = zip(subjects, names, strict=True)
    return [dataclasses.replace(subject, name=name) for subject, name in pairs]
