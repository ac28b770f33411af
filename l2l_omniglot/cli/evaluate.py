"""``l2l-omniglot evaluate``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot.backbones import EVALUATED
from l2l_omniglot.cli.config import Command, from_where, is_given
from l2l_omniglot.cli.console import bold, counting, log, timed
from l2l_omniglot.cli.options import (
    F,
    Name,
    computing_options,
    json_option,
    name_weights,
    options,
    part_option,
    settings_options,
    steps_option,
    weights_option,
    within_alphabet_option,
    worker,
)
from l2l_omniglot.reports.tables import (
    baselines_table,
    evaluation_json,
    evaluation_table,
    one_shot_runs_json,
    one_shot_runs_table,
)

if TYPE_CHECKING:
    from l2l_omniglot.data.one_shot_runs import OneShotRuns
    from l2l_omniglot.data.tasks import Tasks
    from l2l_omniglot.experiments.checkpoint import Checkpoint
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.meta.baselines import Baseline
    from l2l_omniglot.meta.evaluation import Evaluation

TASKS, ONE_SHOT_RUNS = "tasks", "one-shot-runs"
# Options that say which tasks; the one-shot runs are what they are.
_NOT_OF_RUNS = ("tasks", "part", "shots", "queries", "within_alphabet", "seed", "baselines")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to evaluate on, and how; None: as trained."""

    tasks: int
    part: str
    shots: int | None
    queries: int | None
    steps: int | None
    seed: int
    batch_norm: str
    data: str | None


def asked_options(tasks: int) -> Callable[[F], F]:
    """The options that make up `Asked`; `tasks` are so many by default."""
    return options(
        click.option("--tasks", type=click.IntRange(min=2), default=tasks, show_default=True,
                     help="Tasks to evaluate on."),
        part_option,
        settings_options("shots", "queries", by_default="as trained"),
        steps_option(),
        click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks."),
        click.option("--batch-norm", type=Name(list(EVALUATED)), default="both",
                     show_default=True, help="Queries normalised together, each by the support "
                     "set, or both in turn."),
        settings_options("data", by_default="as trained"),
    )  # fmt: skip


@click.command(cls=Command, short_help="Test a trained network on many tasks.")
@weights_option("the newest run's best")
@asked_options(tasks=500)
@click.option("--ways", type=click.IntRange(min=2), default=None,
              help="Classes a task; no others will do (as trained).")  # fmt: skip
@within_alphabet_option
@click.option("--baselines", is_flag=True,
              help="Nearest neighbour and class means on the same tasks, beside it.")  # fmt: skip
@click.option("--protocol", type=Name([TASKS, ONE_SHOT_RUNS]), default=TASKS, show_default=True,
              help="Such tasks, or Lake et al.'s one-shot test (20-way).")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=None,
              help="Folder or archive of the one-shot runs (none).")  # fmt: skip
@computing_options
@json_option
def evaluate(
    weights: str | None,
    ways: int | None,
    within_alphabet: bool,
    baselines: bool,
    protocol: str,
    runs: Path | None,
    device: str,
    engine: str,
    json: bool,
    **given: Any,
) -> None:
    """Fine-tune a copy of a trained network on many test tasks, and average.

    Prints accuracy with its 95 % confidence interval after each step, with the queries of a
    task normalised together (transductive) and each by the support set alone (inductive). The
    trained network is left as it was. The same seed gives the same tasks and numbers.
    """
    from l2l_omniglot.experiments.weights import find_weights

    asked, checkpoint = Asked(**given), find_weights(weights)
    name = name_weights(weights, checkpoint)
    _check(checkpoint, name, protocol, runs, ways)
    data = asked.data or checkpoint.settings.data
    from l2l_omniglot.experiments.experiment import Experiment

    with worker(dataclasses.replace(checkpoint.settings, data=data), device) as (workers, stack):
        experiment = Experiment.load(checkpoint, stack, device, engine, workers, data=data)
        for difference in experiment.differences(checkpoint.facts):
            log.info(f"Note: {difference}; test classes may have been trained on.")
        if runs is None:
            text = _evaluate_tasks(experiment, asked, name, within_alphabet, baselines, json)
        else:
            text = _evaluate_runs(experiment, asked, name, runs, json)
        if workers.first:
            click.echo(text)


def _check(
    checkpoint: Checkpoint, name: str, protocol: str, runs: Path | None, ways: int | None
) -> None:
    """Refuses options that do not go together, or with the weights."""
    context, trained = click.get_current_context(), checkpoint.settings
    if ways not in {None, trained.ways}:
        where = from_where(context, "ways")
        raise click.UsageError(f"--ways {ways}{where}: {name} was trained for {trained.ways} ways")
    if (runs is None) == (protocol == ONE_SHOT_RUNS):
        raise click.UsageError(
            f"--protocol {protocol} with --runs {runs}: --protocol {ONE_SHOT_RUNS} and "
            "--runs PATH go together, expected both or neither"
        )
    if protocol != ONE_SHOT_RUNS:
        return
    for option in context.command.params:
        if option.name in _NOT_OF_RUNS and is_given(context, option.name):
            where = from_where(context, option.name)
            raise click.UsageError(
                f"--protocol {ONE_SHOT_RUNS} with {option.opts[0]}{where}: the runs are given; "
                "expected neither tasks nor their sizes"
            )
    if (trained.ways, trained.split) != (20, "alphabets"):
        raise click.UsageError(
            f"--protocol {ONE_SHOT_RUNS}: {name} was trained for {trained.ways} ways on split "
            f"{trained.split}; expected 20 ways on split alphabets, whose training has none of the "
            "test's characters"
        )


def _evaluate_tasks(
    experiment: Experiment,
    asked: Asked,
    name: str,
    within_alphabet: bool,
    baselines: bool,
    json: bool,
) -> str:
    """Evaluates on random tasks of a part; what is to be printed."""
    settings = experiment.settings
    tasks = experiment.tasks(
        asked.part, shots=asked.shots, queries=asked.queries, seed=asked.seed,
        within_alphabet=within_alphabet,
    )  # fmt: skip
    result = _evaluate(experiment, tasks, asked.tasks, asked)
    beside = _baselines(experiment, tasks, asked) if baselines else {}
    about = {
        "ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries, "seed": tasks.seed,
        "part": asked.part, "split": settings.split, "data": settings.data,
        "within_alphabet": within_alphabet, "checkpoint": name,
    }  # fmt: skip
    if json:
        return evaluation_json(result, beside, **about)
    within = " within one alphabet each" if within_alphabet else ""
    head = (
        f"{tasks.ways}-way {tasks.shots}-shot, {tasks.queries} queries a class, "
        f"{result.tasks} {asked.part} tasks{within} of {settings.data} (split "
        f"{settings.split}, seed {tasks.seed})\n{name}\n\n"
    )
    foot = f"\n\n{baselines_table(beside)}" if beside else ""
    return head + evaluation_table(result, bold) + foot


def _evaluate_runs(experiment: Experiment, asked: Asked, name: str, runs: Path, json: bool) -> str:
    """Evaluates on the official runs; what is to be printed."""
    from l2l_omniglot.data.one_shot_runs import OneShotRuns
    from l2l_omniglot.experiments.experiment import SYNTHETIC

    if experiment.settings.data == SYNTHETIC:
        raise click.UsageError(
            f"--protocol {ONE_SHOT_RUNS}: {name} was trained on {SYNTHETIC} data; expected Omniglot"
        )
    tasks = OneShotRuns(runs, experiment.stack.height, experiment.stack.ink)
    result = _evaluate(experiment, tasks, len(tasks), asked)
    if json:
        return one_shot_runs_json(result, tasks.names, runs=str(runs), checkpoint=name)
    return f"One-shot runs, 20-way\n{name}\n\n{one_shot_runs_table(result, tasks.names)}"


def _evaluate(
    experiment: Experiment, tasks: Tasks | OneShotRuns, count: int, asked: Asked
) -> Evaluation:
    from l2l_omniglot.meta.evaluation import evaluate as evaluate_learner

    steps = experiment.settings.eval_steps if asked.steps is None else asked.steps
    choice = experiment.choose_engine()
    log.debug(f"Engine: {choice.engine.name}{choice.reason and f' ({choice.reason})'}.")
    with timed("Evaluating"), counting("evaluating", "task", count) as progress:
        return evaluate_learner(
            experiment.learner, tasks, count, steps, progress, experiment.workers, asked.batch_norm
        )


def _baselines(experiment: Experiment, tasks: Tasks, asked: Asked) -> dict[str, Baseline]:
    """By name, on the same tasks; of several workers only the first makes them."""
    from l2l_omniglot.experiments.experiment import baselines

    if not experiment.workers.first:
        return {}
    return baselines(experiment, tasks, asked.tasks, EVALUATED[asked.batch_norm])
