"""One HTML file on one or more runs: figures, plots, mistakes, tasks, and how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from l2l_omniglot import plot
from l2l_omniglot.embedded import learning_plots, png, steps_plots
from l2l_omniglot.extras import need
from l2l_omniglot.files import write_text
from l2l_omniglot.grid import as_pixels, class_name, of_label, task_sheet, to_image
from l2l_omniglot.mistakes import Pair, TaskPredictions, confused, hardest
from l2l_omniglot.pretrained import as_typed, train_command
from l2l_omniglot.report import percent
from l2l_omniglot.run import versions
from l2l_omniglot.subjects import Subject
from l2l_omniglot.tasks import Tasks

EXAMPLES = 5  # pictures of a character
MISTAKEN = 6  # pictures of mistakes of a pair, at most


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
        for answer in subject.samples(samples):
            paths.append(folder / f"run{place}-task{answer.number}.png")
            to_image(task_sheet(subject.tasks, answer.number)).save(paths[-1], "png")
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
        "compared": len({subject.stream for subject in subjects}) == 1,
        "steps": steps_plots(subjects),
        "learning": learning_plots(subjects),
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
        "differences": None if subject is first else subject.differences(first),
        "notes": subject.notes,
        "characters": [
            {
                "name": class_name(tasks, found.label),
                "found": found,
                "predicted_as": [
                    (class_name(tasks, label), times)
                    for label, times in found.predicted_as.most_common(2)
                ],
                "pictures": _examples(tasks, found.label),
            }
            for found in hardest(subject.predictions, mode, amounts.characters)
        ],
        "pairs": [
            _pair(tasks, pair) for pair in confused(subject.predictions, mode, amounts.pairs)
        ],
        "samples": [_sample(tasks, answer, mode) for answer in subject.samples(amounts.samples)],
        "train": subject.history.commands or [train_command(subject.settings)],
        "sessions": [
            {**session, "command": as_typed(session["command"])}
            for session in subject.history.sessions
        ],
        "colour": "grey" if subject.experiment.stack.channels == 1 else "coloured",
    }


def _sample(tasks: Tasks, answer: TaskPredictions, mode: str) -> dict[str, Any]:
    """A task with its pictures, and what each query was predicted as."""
    task = tasks[answer.number]
    rows = []
    for label, number in enumerate(answer.classes):
        support, query = (
            [png(pixels) for pixels in as_pixels(images, tasks.dataset.stack)]
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
    return {"number": answer.number, "rows": rows, "accuracy": answer.accuracy(mode)}


def _pair(tasks: Tasks, pair: Pair) -> dict[str, Any]:
    mistakes = []
    for number, place in pair.examples[:MISTAKEN]:
        image = tasks[number].query[place : place + 1]
        mistakes.append(png(as_pixels(image, tasks.dataset.stack)[0]))
    return {
        "found": pair,
        "names": [class_name(tasks, label) for label in pair.labels],
        "pictures": [_examples(tasks, label) for label in pair.labels],
        "mistakes": mistakes,
    }


def _examples(tasks: Tasks, label: int) -> list[str]:
    """The first pictures of a class."""
    images = tasks.dataset.gather(tasks.dataset.indices_of(label)[:EXAMPLES])
    return [png(pixels) for pixels in as_pixels(images, tasks.dataset.stack)]


def _settings(subjects: Sequence[Subject]) -> list[tuple[str, list[str], bool]]:
    """Name, values, and whether they differ; those that differ first."""
    all_of = [_told(subject) for subject in subjects]
    rows = []
    for name in all_of[0]:
        values = [_value(settings[name]) for settings in all_of]
        rows.append((name.replace("_", " "), values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row[2])


def _told(subject: Subject) -> dict[str, Any]:
    """Its settings, with the number of validation classes that 0 stands for."""
    validation = subject.experiment.splits.validation
    return subject.settings.to_dict() | {"validation_classes": len(validation)}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value) or "none"
