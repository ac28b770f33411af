"""``l2l-omniglot report``."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command, given_options
from l2l_omniglot.cli.console import counting, log
from l2l_omniglot.cli.evaluate import (
    EvaluationOptions,
    check_classes,
    check_finite,
    evaluation_options,
    other_settings,
)
from l2l_omniglot.errors import need
from l2l_omniglot.experiments.runs import take_newest
from l2l_omniglot.experiments.weights import find_weights, history

if TYPE_CHECKING:
    from l2l_omniglot.data.stack import Stack
    from l2l_omniglot.reports.html import Subject

page_options = options.combined(
    click.option("--out", type=options.OutputPath(".html", ".htm"), default=Path("report.html"),
                 show_default=True, help="HTML file to write."),
    click.option("--pictures", type=options.OutputPath(folder=True), default=None,
                 help="Folder to also write plots and sample tasks to, as PNG files (none)."),
    click.option("--samples", type=click.IntRange(0, 1000), default=3, show_default=True,
                 help="Number of tasks to show, of the first and of the worst."),
    click.option("--characters", type=click.IntRange(0, 10_000), default=12, show_default=True,
                 help="Hardest characters to show."),
    click.option("--pairs", type=click.IntRange(0, 10_000), default=8, show_default=True,
                 help="Most confused pairs to show."),
)  # fmt: skip


@click.command(cls=Command, short_help="Write an HTML page about trained networks.")
@options.weights_option("the newest run's best; several for a comparison", multiple=True)
@page_options
@evaluation_options(tasks=200)
@options.computing_options
def report(
    weights: tuple[str, ...],
    out: Path,
    pictures: Path | None,
    samples: int,
    characters: int,
    pairs: int,
    device: str,
    engine: str,
    **given: Any,
) -> None:
    """Evaluate trained networks, and write an HTML page about them.

    The page is one file that loads nothing else; it holds pictures of the data.
    """
    for package in ("matplotlib", "jinja2"):  # before any work
        need(package, "the report", "report")
    from l2l_omniglot.reports import html

    chosen = EvaluationOptions(**given)
    sources = weights or (str(take_newest(trained=True).path),)
    stacks: dict[tuple[Any, ...], Stack] = {}
    evaluated = [_evaluate(source, chosen, device, engine, stacks) for source in sources]
    names = html.unlike([subject.name for subject in evaluated])
    subjects = [dataclasses.replace(s, name=name) for s, name in zip(evaluated, names, strict=True)]
    commands = [_evaluate_command(chosen, subject) for subject in subjects]
    commands.append(_report_command(sources))
    html.write_report(subjects, out, commands, samples=samples, characters=characters, pairs=pairs)
    log.info(f"Wrote {out}.")
    if pictures is not None:
        count = len(html.write_pictures(subjects, pictures, samples))
        log.info(f"Wrote {count} pictures to {pictures}.")
    for subject in subjects:
        check_finite(subject.name, subject.evaluation)


def _evaluate(
    source: str, chosen: EvaluationOptions, device: str, engine: str,
    stacks: dict[tuple[Any, ...], Stack],
) -> Subject:  # fmt: skip
    """Evaluates one of the sources; opens data once, and keeps them in `stacks`."""
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.meta.evaluation import evaluate
    from l2l_omniglot.reports.confusions import QueryPredictions
    from l2l_omniglot.reports.html import Subject

    trained = find_weights(source)
    past = history(source, trained)
    others = options.absolute(other_settings(chosen))
    settings = dataclasses.replace(trained.settings, **others)
    key = settings.data, settings.background, settings.ink, settings.split_seed
    if key not in stacks:
        stacks[key] = options.open_stack(settings)
    experiment = Experiment.load(
        trained, stacks[key], device, engine, inner_lr=chosen.inner_lr, **others
    )
    difference = check_classes(experiment, trained, chosen.part, chosen.own_split)
    tasks = experiment.tasks(
        chosen.part, shots=chosen.shots, queries=chosen.queries, seed=chosen.seed
    )
    steps = settings.steps(chosen.steps)
    predictions = QueryPredictions()
    with counting(f"evaluating {past.name}", "task", chosen.tasks) as progress:
        evaluation = evaluate(
            experiment.learner, tasks, chosen.tasks, steps, progress,
            batch_norm=chosen.batch_norm, on_task=predictions,
        )  # fmt: skip
    return Subject(
        past.name, source, past, trained, experiment, tasks, evaluation, predictions, difference
    )


def _evaluate_command(chosen: EvaluationOptions, subject: Subject) -> str:
    """Returns the command that gives the same figures."""
    words = ["l2l-omniglot", "evaluate", "--weights", subject.source]
    for name, value in dataclasses.asdict(chosen).items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _report_command(sources: tuple[str, ...]) -> str:
    """Returns this command, with every option that was set, be it by a file or a variable."""
    context = click.get_current_context()
    words = ["l2l-omniglot", "report"]
    for weights in sources:
        words += ["--weights", weights]
    for name, option in given_options(context).items():
        if name in context.params and name != "weights":
            words += [option.opts[0], str(context.params[name])]
    return shlex.join(words)
