import statistics

import pytest
import torch

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.meta.evaluation import evaluate, half_width, mean
from l2l_omniglot.meta.learner import Learner


@pytest.fixture
def learner() -> Learner:
    torch.manual_seed(1)
    return Learner(BaseNet(filters=8), 0.4)


def test_average_and_interval_are_those_of_the_tasks(learner: Learner, stack: ImageStack):
    tasks = Tasks(stack, range(60))
    seen: list[int] = []
    result = evaluate(learner, tasks, 12, 2, progress=seen.append)
    by_task = []
    for i in range(12):
        scores = learner.score_steps(learner.batch([tasks[i]]), 2)  # one by one, learn2learn's
        by_task.append([step.accuracies.item() for (step,) in scores])
    for step in range(3):
        column = [row[step] for row in by_task]
        assert result.curve.accuracy_per_step[step] == pytest.approx(statistics.fmean(column))
        error = statistics.stdev(column) / 12**0.5
        assert result.curve.ci95_per_step[step] == pytest.approx(2.200985 * error, rel=1e-5)
    assert (result.accuracy, result.ci95) == (
        result.curve.accuracy_per_step[-1],
        result.curve.ci95_per_step[-1],
    )
    assert (result.tasks, result.steps, result.batch_norm) == (12, 2, "transductive")
    assert result.curve.accuracy_per_step[0] == pytest.approx(0.2, abs=1e-12)
    assert result.curve.ci95_per_step[0] == pytest.approx(0, abs=1e-12)
    assert seen[-1] == 12 and seen == sorted(set(seen))
    assert "transductive" in str(result)


def test_both_modes_are_each_mode_by_itself(learner: Learner, stack: ImageStack):
    tasks = Tasks(stack, range(60), queries=4)
    both = evaluate(learner, tasks, 6, 2, batch_norm="both")
    assert list(both.curves) == ["transductive", "inductive"]
    assert (both.batch_norm, both.accuracy) == (
        "transductive",
        both.curves["transductive"].accuracy,
    )
    for mode in both.curves:
        alone = evaluate(learner, tasks, 6, 2, batch_norm=mode)
        assert alone.curves == {mode: both.curves[mode]}
        assert alone.batch_norm == mode
        assert mean(alone.curve.accuracy_per_task) == alone.accuracy
    assert both.curves["transductive"].loss != both.curves["inductive"].loss
    assert "inductive" in str(both)
    with pytest.raises(SettingsError, match="batch_norm='running': expected one of transductive"):
        evaluate(learner, tasks, 6, 2, batch_norm="running")


def test_same_seed_same_numbers(learner: Learner, stack: ImageStack):
    first, again, other = (
        evaluate(learner, Tasks(stack, range(60), seed=seed), 5, 1) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_interval_covers_the_true_mean_about_95_times_in_100():
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(400):
        sample = torch.rand(100, generator=generator).tolist()  # true mean 0.5
        covered += abs(mean(sample) - 0.5) <= half_width(sample)
    assert 0.92 < covered / 400 < 0.98


def test_too_few_tasks_or_steps(learner: Learner, stack: ImageStack):
    for count, steps, wrong in ((1, 5, "count=1"), (2, -1, "steps=-1")):
        with pytest.raises(SettingsError, match=f"{wrong}: expected at least"):
            evaluate(learner, Tasks(stack, range(60)), count, steps)


def test_what_a_notebook_shows_says_what_it_is(stack: ImageStack):
    tasks = Tasks(stack, range(40), ways=3, shots=2, queries=4, seed=7, rotations=True)
    assert repr(tasks) == (
        f"Tasks('train' of {stack.name}, 3-way 2-shot, 4 queries, 160 classes, seed=7)"
    )
    learner = Learner(BaseNet(ways=3), 0.5, first_order=True, rates="layer-step", head="shared")
    count = sum(parameter.numel() for parameter in learner.trained)
    assert repr(learner) == (
        f"Learner(BaseNet, LayerStepRates, SharedHead, {count:,} trained parameters, inner_lr=0.5, "
        "first order, on cpu)"
    )
    result = evaluate(learner, tasks, 2, 1, batch_norm="both")
    assert repr(result) == f"Evaluation({result})" and len(repr(result)) < 150
