"""``l2l-omniglot evaluate``."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.choices import EVALUATED
from l2l_omniglot.cli import names
from l2l_omniglot.cli.asked import ONE_SHOT_RUNS, TASKS, Options, check
from l2l_omniglot.cli.names import one_of
from l2l_omniglot.cli.options import computing_options, options
from l2l_omniglot.cli.weights import one_source
from l2l_omniglot.cli.workers import start_workers, worker
from l2l_omniglot.colour import BOLD, paint
from l2l_omniglot.messages import detail, say, timed
from l2l_omniglot.progress import CountProgress
from l2l_omniglot.report import (
    baselines_table,
    evaluation_json,
    evaluation_table,
    one_shot_runs_json,
    one_shot_runs_table,
)

if TYPE_CHECKING:
    from l2l_omniglot.checkpoint import Checkpoint
    from l2l_omniglot.evaluation import Evaluation
    from l2l_omniglot.experiment import Experiment
    from l2l_omniglot.nearest import Baseline
    from l2l_omniglot.one_shot_runs import OneShotRuns
    from l2l_omniglot.tasks import Tasks
    from l2l_omniglot.workers import Workers

network_options = options(
    click.option("--run", type=click.Path(path_type=Path), default=None,
                 shell_complete=one_of(names.runs, files=True),
                 help="Run folder or checkpoint file (the newest run's best)."),
    click.option("--pretrained", default=None, shell_complete=one_of(names.pretrained),
                 help="Weights that come along instead, see `l2l-omniglot pretrained` (none)."),
    click.option("--steps", type=click.IntRange(min=0), default=None,
                 help="Gradient steps on the support set (as trained)."),
    click.option("--batch-norm", type=click.Choice(list(EVALUATED)), default="both",
                 show_default=True,
                 help="Queries normalised together, each by the support set, or both in turn."),
    click.option("--baselines", is_flag=True,
                 help="Nearest neighbour and class means on the same tasks, beside it."),
)  # fmt: skip
task_options = options(
    click.option("--tasks", "count", type=click.IntRange(min=2), default=500, show_default=True,
                 help="Test tasks."),
    click.option("--part", type=click.Choice(["test", "validation", "train"]), default="test",
                 show_default=True, help="Classes the tasks come from."),
    click.option("--ways", type=click.IntRange(min=2), default=None,
                 help="Classes a task; no others will do (as trained)."),
    click.option("--shots", type=click.IntRange(min=1), default=None,
                 help="Support images a class (as trained)."),
    click.option("--queries", type=click.IntRange(min=1), default=None,
                 help="Query images a class (as trained)."),
    click.option("--within-alphabet", is_flag=True,
                 help="All classes of a task of one alphabet."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks."),
    click.option("--data", default=None, shell_complete=one_of(names.data, files=True),
                 help="omniglot, synthetic or a .npy path (as trained)."),
    click.option("--protocol", type=click.Choice([TASKS, ONE_SHOT_RUNS]), default=TASKS,
                 show_default=True, help="Such tasks, or Lake et al.'s one-shot test (20-way)."),
    click.option("--runs", type=click.Path(path_type=Path), default=None,
                 help="Folder or archive of the one-shot runs (none)."),
)  # fmt: skip


@click.command(short_help="Test a trained network on many tasks.")
@network_options
@task_options
@computing_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    run: Path | None,
    pretrained: str | None,
    device: str,
    engine: str,
    processes: int,
    **given: Any,
) -> None:
    """Fine-tune a copy of a trained network on many test tasks, and average.

    Prints accuracy with its 95 % confidence interval after each step, with the queries of a
    task normalised together (transductive) and each by the support set alone (inductive). The
    trained network is left as it was. The same seed gives the same tasks and numbers.
    """
    asked = Options(**given)
    path, checkpoint = _find_checkpoint(run, pretrained)
    settings = checkpoint.settings
    check(asked, settings.ways, settings.split, path)
    if asked.data is not None:
        settings = dataclasses.replace(settings, data=asked.data)
        checkpoint.settings = settings
    if start_workers(processes):
        return
    from l2l_omniglot.experiment import Experiment

    with worker(settings, device) as (workers, stack):
        experiment = Experiment.load(checkpoint, stack, device, engine, workers)
        for difference in experiment.differences(checkpoint.facts):
            say(f"Note: {difference}; test classes may have been trained on.")
        evaluated = _one_shot_runs if asked.protocol == ONE_SHOT_RUNS else _tasks
        text = evaluated(experiment, asked, path)
        if workers.first:
            click.echo(text)


def _find_checkpoint(run: Path | None, pretrained: str | None) -> tuple[str, Checkpoint]:
    """The checkpoint that is meant, and what to call it."""
    run, pretrained = one_source(run, pretrained)
    if pretrained is not None:
        from l2l_omniglot.pretrained import load_pretrained_checkpoint

        return pretrained, load_pretrained_checkpoint(pretrained)
    from l2l_omniglot.run import LAST, resolve_checkpoint

    path = resolve_checkpoint(run)  # before torch is imported: a wrong path is told at once
    from l2l_omniglot.checkpoint import load_checkpoint

    if path != run and path.name == LAST:
        say(f"Note: {path.parent} had no validation yet, so these are not its best weights.")
    return str(path), load_checkpoint(path)


def _tasks(experiment: Experiment, asked: Options, path: str) -> str:
    """Evaluates on random tasks of a part; what is to be printed."""
    settings = experiment.settings
    tasks = experiment.tasks(
        asked.part, shots=asked.shots, queries=asked.queries, seed=asked.seed,
        within_alphabet=asked.within_alphabet,
    )  # fmt: skip
    result = _evaluate(experiment, tasks, asked.count, asked)
    wanted = asked.baselines and experiment.workers.first
    beside = _baselines(experiment, tasks, asked) if wanted else {}
    about = {
        "ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries, "seed": tasks.seed,
        "part": asked.part, "split": settings.split, "data": settings.data,
        "within_alphabet": asked.within_alphabet, "checkpoint": path,
    }  # fmt: skip
    if asked.as_json:
        return evaluation_json(result, beside, **about)
    within = " within one alphabet each" if asked.within_alphabet else ""
    head = (
        f"{tasks.ways}-way {tasks.shots}-shot, {tasks.queries} queries a class, "
        f"{result.tasks} {asked.part} tasks{within} of {settings.data} (split "
        f"{settings.split}, seed {tasks.seed})\n{path}\n\n"
    )
    return (
        head
        + evaluation_table(result, _best)
        + ((beside and f"\n\n{baselines_table(beside)}") or "")
    )


def _best(text: str) -> str:
    return paint(text, BOLD, sys.stdout)


def _one_shot_runs(experiment: Experiment, asked: Options, path: str) -> str:
    """Evaluates on the official runs; what is to be printed."""
    from l2l_omniglot.data import SYNTHETIC
    from l2l_omniglot.one_shot_runs import OneShotRuns

    assert asked.runs is not None
    if experiment.settings.data == SYNTHETIC:
        raise click.UsageError(
            f"--protocol {ONE_SHOT_RUNS}: {path} was trained on {SYNTHETIC} data; needed Omniglot"
        )
    size = experiment.stack.height
    runs = OneShotRuns(asked.runs, size, experiment.stack.ink)
    result = _evaluate(experiment, runs, len(runs), asked)
    if asked.as_json:
        return one_shot_runs_json(result, runs.names, runs=str(asked.runs), checkpoint=path)
    return f"One-shot runs, 20-way\n{path}\n\n{one_shot_runs_table(result, runs.names)}"


def _evaluate(
    experiment: Experiment, tasks: Tasks | OneShotRuns, count: int, asked: Options
) -> Evaluation:
    from l2l_omniglot.evaluation import evaluate as evaluate_learner

    steps = experiment.settings.eval_steps if asked.steps is None else asked.steps
    workers: Workers = experiment.workers
    choice = experiment.choose_engine()
    detail(f"Engine: {choice.engine.name}{choice.reason and f' ({choice.reason})'}.")
    with timed("Evaluating"), CountProgress("evaluating", "task", count) as progress:
        return evaluate_learner(
            experiment.learner, tasks, count, steps, progress, workers, asked.batch_norm
        )


def _baselines(experiment: Experiment, tasks: Tasks, asked: Options) -> dict[str, Baseline]:
    """By name, on the same tasks."""
    from l2l_omniglot.nearest import baselines

    return baselines(experiment, tasks, asked.count, EVALUATED[asked.batch_norm])
