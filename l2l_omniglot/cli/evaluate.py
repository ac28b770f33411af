"""``l2l-omniglot evaluate``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l2l_omniglot._util.files import sha256
from l2l_omniglot._util.text import counted
from l2l_omniglot.backbones import EVALUATED
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command, from_where, given_options, naming_options
from l2l_omniglot.cli.console import bold, counting, log, say, timed
from l2l_omniglot.data import ALL
from l2l_omniglot.errors import TrainingError
from l2l_omniglot.experiments.protocols import LAKE, OURS, PROTOCOLS, ROTATED, Protocol
from l2l_omniglot.experiments.weights import check_ways, find_weights, pretrained_names
from l2l_omniglot.reports import tables

if TYPE_CHECKING:
    from l2l_omniglot.data.one_shot_runs import OneShotRuns
    from l2l_omniglot.data.tasks import Tasks
    from l2l_omniglot.experiments.checkpoint import Checkpoint
    from l2l_omniglot.experiments.experiment import Experiment
    from l2l_omniglot.experiments.settings import Settings
    from l2l_omniglot.meta.evaluation import Evaluation

# Options that a protocol sets; the tasks of the one-shot runs are fixed altogether.
_SET_BY_PAPERS = ("part", "split", "split_seed", "queries", "within_alphabet", "rotated_tests")
_NOT_OF_RUNS = (*_SET_BY_PAPERS, "ways", "tasks", "shots", "seed", "baselines")


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """Which tasks to evaluate on, and how; None: as trained."""

    tasks: int
    part: str
    shots: int | None
    queries: int | None
    steps: int | None
    inner_lr: float | None
    seed: int
    batch_norm: str
    data: str | None
    split: str | None
    split_seed: int | None

    @property
    def own_split(self) -> bool:
        """Returns whether the split is that of the training."""
        return self.split is None and self.split_seed is None


def evaluation_options(tasks: int) -> Callable[[options.F], options.F]:
    """Adds the options that make up `EvaluationOptions`; `tasks` is the default of ``--tasks``."""
    return options.combined(
        click.option("--tasks", type=click.IntRange(2, options.COUNT), default=tasks,
                     show_default=True, help="Tasks to evaluate on."),
        options.part_option,
        options.settings_options("shots", "queries", by_default="as trained"),
        options.steps_option(),
        options.settings_options("inner_lr", by_default="as trained"),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed for the tasks."),
        click.option("--batch-norm", type=options.Name(list(EVALUATED)), default="both",
                     show_default=True, help="Normalise a task's queries together "
                     "(transductive), each by the support set (inductive), or report both."),
        options.settings_options("data", "split", "split_seed", by_default="as trained"),
    )  # fmt: skip


def other_settings(chosen: EvaluationOptions) -> dict[str, Any]:
    """Returns the settings of data and split that are not to be those of the training."""
    asked = {"data": chosen.data, "split": chosen.split, "split_seed": chosen.split_seed}
    if chosen.part == ALL and not chosen.split:
        asked["split"] = "random"  # any stack has one; no class depends on it
    return {name: value for name, value in asked.items() if value is not None}


def check_classes(
    experiment: Experiment, checkpoint: Checkpoint, part: str, own_split: bool
) -> str:
    """Refuses classes that the weights have seen, where the part does not say that they have.

    Args:
        experiment: of the weights, on the data and split that are asked for.
        checkpoint: theirs.
        part: that tasks are drawn from.
        own_split: whether nobody asked for a split, so that it is the training's.

    Returns:
        How data or split differ from the training's, if that leaves it open, which is noted.

    Raises:
        SettingsError: as `Experiment.check_unseen`.
    """
    if not own_split or part == ALL:
        experiment.check_unseen(checkpoint, part)
        return ""
    if difference := experiment.difference(checkpoint.facts):
        log.info(f"Note: {difference}; test classes may have been trained on.")
    return difference


@click.command(cls=Command, short_help="Test a trained network on many tasks.")
@options.weights_option("the newest run's best")
@evaluation_options(tasks=500)
@click.option("--ways", type=click.IntRange(2, 100_000), default=None,
              help="Classes per task; weights with a trained head refuse any other number than "
              "in training (as trained).")  # fmt: skip
@options.alphabet_option
@click.option("--rotated-tests", type=options.Name(ROTATED), default="none", show_default=True,
              help="Rotate test characters: rotated ones are classes (Snell et al. 2017), or "
              "each class of a task is rotated at random (Finn et al. 2017).")  # fmt: skip
@click.option("--baselines", is_flag=True,
              help="Also evaluate nearest neighbour and class means on these tasks.")  # fmt: skip
@click.option("--protocol", type=options.Name(list(PROTOCOLS)), default=OURS, show_default=True,
              help="Test as a paper does: split, rotations, queries, tasks and normalisation; "
              "lake is the one-shot test of Lake et al. (20-way).")  # fmt: skip
@click.option("--runs", type=options.GivenPath(), default=None,
              help="Folder or archive of the one-shot runs of --protocol lake (none).")  # fmt: skip
@options.computing_options
@options.json_option
def evaluate(
    weights: str | None,
    ways: int | None,
    within_alphabet: bool,
    rotated_tests: str,
    baselines: bool,
    protocol: str,
    runs: Path | None,
    device: str,
    engine: str,
    json: bool,
    **given: Any,
) -> None:
    """Adapt copies of a trained network to many test tasks, and average.

    Prints accuracy with its 95 % confidence interval after each inner step, with the queries of
    a task normalised together (transductive) and each by the support set alone (inductive). The
    trained network itself does not change. The same seed gives the same tasks and numbers.
    """
    chosen, checkpoint = EvaluationOptions(**given), find_weights(weights)
    name = weights if weights in pretrained_names() else checkpoint.source
    subject = {"weights": name, "weights_sha256": sha256(Path(checkpoint.source))}
    trained = checkpoint.settings
    _check(trained, name, protocol, runs, ways)
    paper = PROTOCOLS[protocol]
    chosen = _as_in(paper, chosen)
    from l2l_omniglot.experiments.experiment import Experiment

    others = other_settings(chosen) | ({"split": paper.split} if paper.split else {})
    ways = 20 if runs else ways
    set_by = {"split": "protocol"} if paper.split else {}
    with options.worker(dataclasses.replace(trained, **others), device) as (workers, stack):
        with naming_options(click.get_current_context(), set_by):
            experiment = Experiment.load(
                checkpoint, stack, device, engine, workers, ways, chosen.inner_lr, **others
            )
        own_split = not paper.split and chosen.own_split
        check_classes(experiment, checkpoint, chosen.part, own_split)
        if runs is None:
            rotated = rotated_tests if protocol == OURS else paper.rotated
            text, result = _evaluate_tasks(
                experiment, chosen, subject, within_alphabet, rotated, protocol, baselines, json
            )
        else:
            text, result = _evaluate_runs(experiment, chosen, subject, runs, json)
        if workers.first:
            click.echo(text) if json else say(text)
    check_finite(name, result)


def check_finite(name: str, result: Evaluation) -> None:
    """Refuses an evaluation that ends in a loss that is no number, once it was shown.

    Raises:
        TrainingError: names the weights.
    """
    if not all(math.isfinite(curve.loss) for curve in result.curves.values()):
        raise TrainingError(
            f"{name}: the loss after {counted(result.steps, 'inner step')} is not finite: its "
            "training has diverged, or its inner rate is too high for these tasks"
        )


def _check(
    trained: Settings, name: str, protocol: str, runs: Path | None, ways: int | None
) -> None:
    """Refuses options that do not go together, or with the weights."""
    context = click.get_current_context()
    if ways is not None:
        check_ways(trained, ways, name, f"--ways {ways}{from_where(context, 'ways')}")
    if (runs is None) == (protocol == LAKE):
        problem = f"--protocol {LAKE} without --runs"
        if runs is not None:
            problem = f"--runs {runs} without --protocol {LAKE}"
        raise click.UsageError(
            f"{problem}: the protocol tests on the one-shot runs at --runs PATH; expected both or "
            "neither"
        )
    if protocol == OURS:
        return
    fixed = _NOT_OF_RUNS if protocol == LAKE else _SET_BY_PAPERS
    for option_name, option in given_options(context).items():
        if option_name in fixed:
            where = from_where(context, option_name)
            raise click.UsageError(
                f"--protocol {protocol} with {option.opts[0]}{where}: the protocol sets it; "
                "expected one of both"
            )
    if protocol == LAKE and (
        trained.split != "alphabets" or not (trained.any_ways or trained.ways == 20)
    ):
        raise click.UsageError(
            f"--protocol {LAKE}: {name} was trained for {trained.ways} ways on split "
            f"{trained.split}; expected any or 20 ways on split alphabets, which trains on none of "
            "the test's characters, as --weights resnet8-alphabets"
        )


def _as_in(paper: Protocol, chosen: EvaluationOptions) -> EvaluationOptions:
    """Takes from a protocol what it sets and the user does not."""
    given = given_options(click.get_current_context())
    changes: dict[str, Any] = {}
    if paper.tasks and "tasks" not in given:
        changes["tasks"] = paper.tasks
    if paper.batch_norm and "batch_norm" not in given:
        changes["batch_norm"] = paper.batch_norm
    if paper.queries is not None:
        changes["queries"] = paper.queries
    return dataclasses.replace(chosen, **changes)


def _evaluate_tasks(
    experiment: Experiment, chosen: EvaluationOptions, subject: dict[str, str],
    within_alphabet: bool, rotated: str, protocol: str, baselines: bool, json: bool,
) -> tuple[str, Evaluation]:  # fmt: skip
    """Evaluates on random tasks; returns what is to be printed, and the result."""
    settings = experiment.settings
    split = "" if chosen.part == ALL else settings.split
    shots = settings.shots if chosen.shots is None else chosen.shots
    tasks = experiment.tasks(
        chosen.part, shots=shots, queries=shots if chosen.queries == 0 else chosen.queries,
        seed=chosen.seed, within_alphabet=within_alphabet, rotated=rotated,
    )  # fmt: skip
    result = _evaluate(experiment, tasks, chosen.tasks, chosen)
    baseline_results = {}
    if baselines and experiment.workers.first:
        from l2l_omniglot.experiments.experiment import baselines as evaluate_baselines

        modes = EVALUATED[chosen.batch_norm]
        baseline_results = evaluate_baselines(experiment, tasks, chosen.tasks, modes)
    about = {
        "ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries, "seed": tasks.seed,
        "inner_lr": settings.eval_rate if result.steps else None, "part": chosen.part,
        "split": split, "data": settings.data, "within_alphabet": within_alphabet,
        "rotated_tests": rotated, "protocol": protocol, **subject,
    }  # fmt: skip
    if json:
        return tables.evaluation_json(result, baseline_results, **about), result
    part, of = f"{chosen.part} ", f"split {split}, "
    if chosen.part == ALL:
        part, of = "", "all classes, "
    within = " within one alphabet each" if within_alphabet else ""
    within += f", rotated ({rotated})," if rotated != "none" else ""
    head = (
        f"{tasks.ways}-way {tasks.shots}-shot, {tasks.queries} queries per class\n"
        f"{result.tasks} {part}tasks{within} of {settings.data} ({of}seed {tasks.seed})\n"
        f"{subject['weights']}\n\n"
    )
    if protocol != OURS:
        head = f"Protocol {protocol}: {PROTOCOLS[protocol].about}\n{head}"
    foot = f"\n\n{tables.baselines_table(baseline_results)}" if baseline_results else ""
    return head + tables.evaluation_table(result, bold) + foot, result


def _evaluate_runs(
    experiment: Experiment,
    chosen: EvaluationOptions,
    subject: dict[str, str],
    runs: Path,
    json: bool,
) -> tuple[str, Evaluation]:
    """Evaluates on the official runs; returns what is to be printed, and the result."""
    from l2l_omniglot.data.one_shot_runs import OneShotRuns
    from l2l_omniglot.experiments.readers import SYNTHETIC

    name = subject["weights"]
    if experiment.settings.data == SYNTHETIC:
        raise click.UsageError(
            f"--protocol {LAKE}: {name} was trained on {SYNTHETIC} data; expected Omniglot"
        )
    tasks = OneShotRuns(runs, experiment.stack.height, experiment.stack.ink)
    result = _evaluate(experiment, tasks, len(tasks), chosen)
    if json:
        return tables.one_shot_runs_json(result, tasks.names, runs=str(runs), **subject), result
    head = f"One-shot runs, 20-way\n{name}\n\n"
    return head + tables.one_shot_runs_table(result, tasks.names), result


def _evaluate(
    experiment: Experiment, tasks: Tasks | OneShotRuns, count: int, chosen: EvaluationOptions
) -> Evaluation:
    from l2l_omniglot.meta.evaluation import evaluate as evaluate_learner

    steps = experiment.settings.steps(chosen.steps)
    log.debug(f"Engine: {experiment.learner.choose(tasks[0])}.")
    with timed("Evaluating"), counting("evaluating", "task", count) as progress:
        return evaluate_learner(
            experiment.learner, tasks, count, steps, progress, experiment.workers, chosen.batch_norm
        )
