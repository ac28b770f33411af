"""``l2l-omniglot report``."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.choices import DEVICES, ENGINES, EVALUATED
from l2l_omniglot.cli.options import OutputPath, absolute, options
from l2l_omniglot.messages import say
from l2l_omniglot.progress import CountProgress
from l2l_omniglot.settings import Settings

if TYPE_CHECKING:
    from l2l_omniglot.stack import ImageStack
    from l2l_omniglot.subjects import Subject

SUFFIXES = (".html", ".htm")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to evaluate on; None: as trained."""

    count: int
    part: str
    shots: int | None
    queries: int | None
    steps: int | None
    seed: int
    batch_norm: str
    data: str | None
    device: str
    engine: str


evaluation_options = options(
    click.option("--tasks", "count", type=click.IntRange(min=2), default=200, show_default=True,
                 help="Tasks to evaluate on."),
    click.option("--part", type=click.Choice(["test", "validation", "train"]), default="test",
                 show_default=True, help="Classes the tasks come from."),
    click.option("--shots", type=click.IntRange(min=1), default=None,
                 help="Support images a class (as trained)."),
    click.option("--queries", type=click.IntRange(min=1), default=None,
                 help="Query images a class (as trained)."),
    click.option("--steps", type=click.IntRange(min=0), default=None,
                 help="Gradient steps on the support set (as trained)."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks."),
    click.option("--batch-norm", type=click.Choice(list(EVALUATED)), default="both",
                 show_default=True, help="See `evaluate`; mistakes are of the first."),
    click.option("--data", default=None,
                 help="omniglot, synthetic or a .npy path (as trained)."),
    click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True,
                 help="Where to compute."),
    click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
                 help="How to compute: task by task, or stacked."),
)  # fmt: skip
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


@click.command(short_help="Write an HTML page about trained networks.")
@click.argument("runs", nargs=-1)
@page_options
@evaluation_options
def report(
    runs: tuple[str, ...],
    output: Path,
    pictures: Path | None,
    samples: int,
    characters: int,
    pairs: int,
    **given: Any,
) -> None:
    """Evaluate RUNS, and write one HTML file about them.

    Each of RUNS is a run folder, a checkpoint file, or the name of pretrained weights; without
    any, the newest run. The file needs no other and no network; it holds pictures of the data.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"--output {output}: needed a file name that ends in .html")
    from l2l_omniglot.html_report import Amounts, check_reporting, write_pictures, write_report
    from l2l_omniglot.run import newest_run
    from l2l_omniglot.subjects import renamed

    check_reporting()
    asked = Options(**given)
    sources = runs or (str(newest_run().path),)
    made = _Made(asked)
    subjects = renamed([made(source) for source in sources])
    commands = [_evaluate_command(asked, subject) for subject in subjects]
    commands.append(_report_command(sources))
    write_report(subjects, output, commands, Amounts(samples, characters, pairs))
    say(f"Wrote {output}.")
    if pictures is not None:
        count = len(write_pictures(subjects, pictures, samples))
        say(f"Wrote {count} pictures to {pictures}.")


class _Made:
    """Evaluates one source after the other; data are opened once."""

    def __init__(self, asked: Options) -> None:
        self._asked = asked
        self._stacks: dict[tuple[Any, ...], ImageStack] = {}

    def __call__(self, source: str) -> Subject:
        from l2l_omniglot.evaluation import evaluate
        from l2l_omniglot.experiment import Experiment
        from l2l_omniglot.history import history
        from l2l_omniglot.mistakes import Answers
        from l2l_omniglot.subjects import Subject
        from l2l_omniglot.transfer import find_weights

        asked, checkpoint = self._asked, find_weights(source)
        past, trained = history(source, checkpoint), checkpoint.settings
        if asked.data is not None:
            path = absolute({"data": asked.data})["data"]
            checkpoint.settings = dataclasses.replace(trained, data=path)
        stack = self._open(checkpoint.settings)
        experiment = Experiment.load(checkpoint, stack, asked.device, asked.engine)
        notes = experiment.differences(checkpoint.facts)
        for note in notes:
            say(f"Note: {note}; test classes may have been trained on.")
        tasks = experiment.tasks(
            asked.part, shots=asked.shots, queries=asked.queries, seed=asked.seed
        )
        steps = trained.eval_steps if asked.steps is None else asked.steps
        answers = Answers()
        with CountProgress(f"evaluating {past.name}", "task", asked.count) as progress:
            evaluation = evaluate(
                experiment.learner, tasks, asked.count, steps, progress,
                batch_norm=asked.batch_norm, listener=answers,
            )  # fmt: skip
        return Subject(
            past.name, source, past, trained, experiment, checkpoint.facts, checkpoint.iteration,
            tasks, evaluation, answers, tuple(notes),
        )  # fmt: skip

    def _open(self, settings: Settings) -> ImageStack:
        from l2l_omniglot.data import open_data

        key = settings.data, settings.background, settings.ink, settings.split_seed
        if key not in self._stacks:
            with CountProgress("preparing", "character") as progress:
                self._stacks[key] = open_data(settings, say, progress)
        return self._stacks[key]


def _evaluate_command(asked: Options, subject: Subject) -> str:
    """Gives the same figures."""
    which = "--pretrained" if subject.history.kind == "pretrained" else "--run"
    words = ["l2l-omniglot", "evaluate", which, subject.source]
    values = {
        "tasks": asked.count, "part": asked.part, "shots": asked.shots, "queries": asked.queries,
        "steps": asked.steps, "seed": asked.seed, "batch-norm": asked.batch_norm,
        "data": asked.data,
    }  # fmt: skip
    for name, value in values.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)


def _report_command(sources: tuple[str, ...]) -> str:
    """This command, with every option that was typed."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    words = ["l2l-omniglot", "report", *sources]
    for parameter in context.command.params:
        name = parameter.name or ""
        told = name != "runs" and name in context.params
        if told and context.get_parameter_source(name) is typed:
            words += [parameter.opts[0], str(context.params[name])]
    return shlex.join(words)
