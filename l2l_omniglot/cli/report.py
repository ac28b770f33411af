"""``l2l-omniglot report``."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import counting, log
from l2l_omniglot.cli.evaluate import Asked, asked_options
from l2l_omniglot.cli.options import (
    OutputPath,
    absolute,
    completing,
    computing_options,
    known_weights,
    open_stack,
    options,
)
from l2l_omniglot.experiments.settings import Settings

if TYPE_CHECKING:
    from l2l_omniglot.data.stack import ImageStack
    from l2l_omniglot.reports.html import Subject

SUFFIXES = (".html", ".htm")


page_options = options(
    click.option("--output", type=OutputPath(), default=Path("report.html"),
                 show_default=True, help="HTML file to write."),
    click.option("--pictures", type=OutputPath(folder=True), default=None,
                 help="Folder to write plots and sample tasks to as PNG files, too (none)."),
    click.option("--samples", type=click.IntRange(min=0), default=3, show_default=True,
                 help="Tasks to show: the first ones, and the worst."),
    click.option("--characters", type=click.IntRange(min=0), default=12, show_default=True,
                 help="Hardest characters to show."),
    click.option("--pairs", type=click.IntRange(min=0), default=8, show_default=True,
                 help="Most confused pairs to show."),
)  # fmt: skip


@click.command(cls=Command, short_help="Write an HTML page about trained networks.")
@click.argument("weights", nargs=-1, shell_complete=completing(known_weights))
@page_options
@asked_options(tasks=200)
@computing_options
def report(
    weights: tuple[str, ...],
    output: Path,
    pictures: Path | None,
    samples: int,
    characters: int,
    pairs: int,
    device: str,
    engine: str,
    **given: Any,
) -> None:
    """Evaluate WEIGHTS, and write one HTML file about them.

    Each of WEIGHTS is a name of pretrained weights, a run folder or a checkpoint file; without
    any, the newest run. The file needs no other and no network; it holds pictures of the data.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"--output {output}: expected a file name that ends in .html")
    from l2l_omniglot.experiments.run_folder import newest_run
    from l2l_omniglot.reports.html import (
        Amounts,
        check_reporting,
        renamed,
        write_pictures,
        write_report,
    )

    check_reporting()
    asked = Asked(**given)
    sources = weights or (str(newest_run().path),)
    made = _Made(asked, device, engine)
    subjects = renamed([made(source) for source in sources])
    commands = [_evaluate_command(asked, subject) for subject in subjects]
    commands.append(_report_command(sources))
    write_report(subjects, output, commands, Amounts(samples, characters, pairs))
    log.info(f"Wrote {output}.")
    if pictures is not None:
        count = len(write_pictures(subjects, pictures, samples))
        log.info(f"Wrote {count} pictures to {pictures}.")


class _Made:
    """Evaluates one source after the other; data are opened once."""

    def __init__(self, asked: Asked, device: str, engine: str) -> None:
        self._asked, self._device, self._engine = asked, device, engine
        self._stacks: dict[tuple[Any, ...], ImageStack] = {}

    def __call__(self, source: str) -> Subject:
        from l2l_omniglot.experiments.experiment import Experiment
        from l2l_omniglot.experiments.weights import find_weights, history
        from l2l_omniglot.meta.evaluation import evaluate
        from l2l_omniglot.reports.confusions import QueryPredictions
        from l2l_omniglot.reports.html import Subject

        asked, trained = self._asked, find_weights(source)
        past = history(source, trained)
        data = absolute({"data": asked.data}).get("data", trained.settings.data)
        stack = self._open(dataclasses.replace(trained.settings, data=data))
        experiment = Experiment.load(trained, stack, self._device, self._engine, data=data)
        notes = experiment.differences(trained.facts)
        for note in notes:
            log.info(f"Note: {note}; test classes may have been trained on.")
        tasks = experiment.tasks(
            asked.part, shots=asked.shots, queries=asked.queries, seed=asked.seed
        )
        steps = trained.settings.eval_steps if asked.steps is None else asked.steps
        predictions = QueryPredictions()
        with counting(f"evaluating {past.name}", "task", asked.tasks) as progress:
            evaluation = evaluate(
                experiment.learner, tasks, asked.tasks, steps, progress,
                batch_norm=asked.batch_norm, on_task=predictions,
            )  # fmt: skip
        return Subject(
            past.name, source, past, trained.settings, experiment, trained.facts,
            trained.iteration, tasks, evaluation, predictions, tuple(notes),
        )  # fmt: skip

    def _open(self, settings: Settings) -> ImageStack:
        key = settings.data, settings.background, settings.ink, settings.split_seed
        if key not in self._stacks:
            self._stacks[key] = open_stack(settings)
        return self._stacks[key]


def _evaluate_command(asked: Asked, subject: Subject) -> str:
    """Gives the same figures."""
    words = ["l2l-omniglot", "evaluate", "--weights", subject.source]
    for name, value in dataclasses.asdict(asked).items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _report_command(sources: tuple[str, ...]) -> str:
    """This command, with every option that was typed."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    words = ["l2l-omniglot", "report", *sources]
    for parameter in context.command.params:
        name = parameter.name or ""
        told = name != "weights" and name in context.params
        if told and context.get_parameter_source(name) is typed:
            words += [parameter.opts[0], str(context.params[name])]
    return shlex.join(words)
