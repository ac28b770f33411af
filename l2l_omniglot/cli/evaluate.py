"""``l2l-omniglot evaluate``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot.cli.options import computing_options
from l2l_omniglot.cli.workers import start_workers, worker
from l2l_omniglot.progress import CountProgress, say
from l2l_omniglot.report import evaluation_json, evaluation_table

if TYPE_CHECKING:
    from l2l_omniglot.evaluation import Evaluation
    from l2l_omniglot.recipes import Settings
    from l2l_omniglot.tasks import Tasks


@click.command()
@click.option(
    "--tasks",
    "count",
    type=click.IntRange(min=2),
    default=500,
    show_default=True,
    help="Test tasks.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    default=None,
    help="Run folder or checkpoint file (the newest run's best).",
)
@click.option(
    "--part",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="Classes the tasks come from.",
)
@click.option(
    "--ways", type=click.IntRange(min=2), default=None, help="Classes a task; must be as trained."
)
@click.option(
    "--shots", type=click.IntRange(min=1), default=None, help="Support images a class (as trained)."
)
@click.option(
    "--queries", type=click.IntRange(min=1), default=None, help="Query images a class (as trained)."
)
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=None,
    help="Gradient steps on the support set (as trained).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks.")
@click.option("--data", default=None, help="omniglot, synthetic or a .npy path (as trained).")
@computing_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    count: int,
    run: Path | None,
    part: str,
    ways: int | None,
    shots: int | None,
    queries: int | None,
    steps: int | None,
    seed: int,
    data: str | None,
    device: str,
    engine: str,
    processes: int,
    as_json: bool,
) -> None:
    """Fine-tune a copy of a trained network on many test tasks, and average.

    Prints accuracy with its 95 % confidence interval after each step. The trained network is
    left as it was. The same seed gives the same tasks and numbers.
    """
    from l2l_omniglot.run import LAST, resolve_checkpoint

    path = resolve_checkpoint(run)  # before torch is imported: a wrong path is told at once
    from l2l_omniglot.checkpoint import load_checkpoint
    from l2l_omniglot.evaluation import evaluate as evaluate_learner
    from l2l_omniglot.experiment import Experiment

    checkpoint = load_checkpoint(path)
    if path != run and path.name == LAST:
        say(f"Note: {path.parent} had no validation yet, so these are not its best weights.")
    settings = checkpoint.settings
    if ways is not None and ways != settings.ways:
        raise click.UsageError(f"--ways {ways}: {path} was trained for {settings.ways} ways")
    if data is not None:
        settings = dataclasses.replace(settings, data=data)
    if start_workers(processes):
        return
    with worker(settings, device) as (workers, stack):
        experiment = Experiment.load(checkpoint, stack, device, engine, workers)
        for difference in experiment.differences(checkpoint.facts):
            say(f"Note: {difference}; test classes may have been trained on.")
        tasks = experiment.tasks(part, shots=shots, queries=queries, seed=seed)
        steps = settings.eval_steps if steps is None else steps
        with CountProgress("evaluating", "task", count) as progress:
            result = evaluate_learner(experiment.learner, tasks, count, steps, progress, workers)
        if workers.first:
            _print(result, tasks, settings, part, path, as_json)


def _print(
    result: Evaluation, tasks: Tasks, settings: Settings, part: str, path: Path, as_json: bool
) -> None:
    about = {
        "ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries, "seed": tasks.seed,
        "part": part, "split": settings.split, "data": settings.data, "checkpoint": str(path),
    }  # fmt: skip
    if as_json:
        click.echo(evaluation_json(result, **about))
        return
    click.echo(
        f"{tasks.ways}-way {tasks.shots}-shot, {tasks.queries} queries a class, "
        f"{result.tasks} {part} tasks of {settings.data} (split {settings.split}, seed "
        f"{tasks.seed}), {result.batch_norm} batch norm\n{path}\n"
    )
    click.echo(evaluation_table(result))
