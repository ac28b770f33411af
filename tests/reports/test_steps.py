"""What the report says and shows about inner steps."""

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.cli import cli
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.meta.evaluation import Curve, Evaluation, evaluate, half_width, mean
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.reports.plots import LIGHT, steps_svg
from l2l_omniglot.reports.steps import earlier_step


@pytest.fixture
def evaluation(stack: ImageStack) -> Evaluation:
    """Steps so long that they lose what the first one learned."""
    torch.manual_seed(1)
    tasks = Tasks(stack, range(60), queries=4)
    return evaluate(Learner(BaseNet(filters=8), 30.0), tasks, 12, 2, batch_norm="both")


def test_a_lead_is_the_mean_difference_within_the_same_tasks(
    evaluation: Evaluation, stack: ImageStack
):
    torch.manual_seed(1)
    learner, tasks = Learner(BaseNet(filters=8), 30.0), Tasks(stack, range(60), queries=4)
    shorter = [evaluate(learner, tasks, 12, steps, batch_norm="both") for steps in range(3)]
    for mode, curve in evaluation.curves.items():
        for step, other in enumerate(shorter):
            pairs = zip(other.curves[mode].accuracy_per_task, curve.accuracy_per_task, strict=True)
            gains = [early - late for early, late in pairs]
            assert curve.lead_per_step[step] == pytest.approx(mean(gains))
            assert curve.lead_ci95_per_step[step] == pytest.approx(half_width(gains))
        assert curve.lead_per_step[-1] == curve.lead_ci95_per_step[-1] == 0


def curve(accuracies: list[float], leads: list[float], halves: list[float]) -> Curve:
    zeros = [0.0] * len(leads)
    return Curve(accuracies, zeros, zeros, leads, halves, [])


def test_an_earlier_step_is_named_with_its_lead_and_whether_that_is_chance():
    beyond = earlier_step(curve([0.2, 0.974, 0.97], [-0.77, 0.004, 0.0], [0.01, 0.002, 0.0]))
    assert "highest after step 1: 97.40 %, and 97.00 % after the last, step 2" in beyond
    assert "0.40 ± 0.20 points, beyond its interval" in beyond and "validation tasks" in beyond
    within = earlier_step(curve([0.971, 0.9, 0.97], [0.001, -0.07, 0.0], [0.002, 0.01, 0.0]))
    assert "highest before any step" in within
    assert "0.10 ± 0.20 points, a difference within its interval" in within


@pytest.mark.parametrize("leads", [[-0.7, -0.1, 0.0], [-0.7, 0.0, 0.0], [0.0]])
def test_nothing_is_said_where_no_step_is_better_than_the_last(leads: list[float]):
    assert earlier_step(curve([0.9 + lead for lead in leads], leads, [0.1] * len(leads))) == ""


def axis(svg: bytes) -> str:
    """The accuracy axis of a plot: ticks, their places and labels."""
    found = re.search(r'<g id="matplotlib.axis_2">(.*?)<g id="LineCollection', svg.decode(), re.S)
    assert found and "<!-- accuracy, % -->" in found[1]
    return found[1]


def test_the_plots_of_both_modes_have_the_same_axis(evaluation: Evaluation):
    ranges = {tuple(curve.accuracy_per_step) for curve in evaluation.curves.values()}
    assert len(ranges) == 2  # which would ask for two axes
    plots = [steps_svg({"run": evaluation}, mode, LIGHT) for mode in evaluation.curves]
    assert plots[0] != plots[1] and axis(plots[0]) == axis(plots[1])


@pytest.mark.slow  # it draws the whole page
def test_the_report_says_what_an_evaluation_of_the_same_tasks_says(trained_head: Path):
    words = ["--weights", str(trained_head), "--data", "synthetic", "--tasks", "4"]
    done = CliRunner().invoke(cli, ["report", *words, "--samples", "0"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    text = Path("report.html").read_text(encoding="utf-8")
    said = re.findall(
        r'<p class="soft earlier">(\w+): .* step (\d): ([\d.]+) %, and ([\d.]+)', text
    )
    done = CliRunner().invoke(cli, ["evaluate", *words, "--json"], catch_exceptions=False)
    body = json.loads(done.stdout)
    expected = []
    for mode in ("transductive", "inductive"):
        accuracies = [f"{100 * value:.2f}" for value in body[mode]["accuracy_per_step"]]
        best = max(range(6), key=lambda step: body[mode]["accuracy_per_step"][step])
        if accuracies[best] != accuracies[-1]:
            expected.append((mode.capitalize(), str(best), accuracies[best], accuracies[-1]))
    assert said == expected and expected
    beside = re.findall(r'<dd class="earlier">([\d.]+) % after step (\d)</dd>', text)
    assert beside == [(best, step) for _, step, best, _ in expected]
