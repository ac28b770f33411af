"""ANIL: learn2learn's MAML on the head alone, whose body sees a support set once."""

import pytest
import torch
from tiny import TinyNet, flat_gradient, tiny_task
from torch import nn
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.meta.engines.fast_weights import Inner
from l2l_omniglot.meta.learner import Learner


def tiny_anil() -> Learner:
    torch.manual_seed(0)
    return Learner(TinyNet().double(), 0.5, adapt="head", inner_steps=2)


@pytest.fixture
def task() -> Task:
    return tiny_task()


def test_anil_is_learn2learns_maml_on_the_head(task: Task):
    learner = tiny_anil()
    network = learner.backbone
    head = l2l.algorithms.MAML(network.linear, 0.5).clone()

    def features(images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(network.norm(network.conv(images))).flatten(1)

    for _ in range(2):
        head.adapt(cross_entropy(head(features(task.support)), task.support_labels))
    loss = cross_entropy(head(features(task.query)), task.query_labels)
    expected = torch.autograd.grad(loss, learner.trained)
    found = flat_gradient(learner, task, (0.0, 0.0, 1.0))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in expected]))


def test_anil_leaves_the_body_as_it_is(task: Task):
    learner = tiny_anil()
    for adapted in learner.adapt(task.support, task.support_labels, 2):
        assert torch.equal(adapted.module.conv.weight, learner.backbone.conv.weight)
    assert not torch.equal(adapted.module.linear.weight, learner.backbone.linear.weight)


def count_passes(backbone: nn.Module) -> list[int]:
    """Notes the images of every pass through a layer of the body."""
    passes: list[int] = []
    backbone.conv.register_forward_pre_hook(lambda _layer, given: passes.append(len(given[0])))
    return passes


@pytest.mark.parametrize(("adapt", "expected"), [("head", 1), ("all", 4)])
def test_in_training_anils_body_sees_the_support_set_once(task: Task, adapt: str, expected: int):
    backbone = TinyNet().double()
    passes = count_passes(backbone)
    learner = Learner(backbone, 0.5, adapt=adapt)
    learner.meta_gradient(learner.batch([task]), 4)
    assert passes == [len(task.support)] * expected + [len(task.query)]


@pytest.mark.parametrize(("adapt", "expected"), [("head", 1), ("all", 5)])
def test_in_evaluation_anils_body_sees_the_query_set_once(task: Task, adapt: str, expected: int):
    backbone = TinyNet().double()
    passes = count_passes(backbone)
    learner = Learner(backbone, 0.5, adapt=adapt)
    both = learner.score_steps(learner.batch([task]), 4, None, ["transductive", "inductive"])
    assert len(both) == 5
    assert passes.count(len(task.query)) == 2 * expected  # by its own statistics, by the others


class Doubled(nn.Module):
    """Uses its last layer as others do not."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * self.head(self.body(images))


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_a_backbone_that_changes_its_heads_logits_is_adapted_by_them(task: Task, engine: str):
    torch.manual_seed(0)
    body, head = nn.Flatten(), nn.Linear(16, 3).double()
    learner = Learner(Doubled(body, head), 0.01, engine=engine, adapt="head")
    weight, bias = (p.detach().clone().requires_grad_() for p in head.parameters())
    for _ in range(3):
        logits = 2 * (task.support.flatten(1) @ weight.T + bias)
        loss = cross_entropy(logits, task.support_labels)
        moves = torch.autograd.grad(loss, (weight, bias))
        weight, bias = (p - 0.01 * g for p, g in zip((weight, bias), moves, strict=True))
    expected = cross_entropy(2 * (task.query.flatten(1) @ weight.T + bias), task.query_labels)
    tasks = learner.batch([task])
    found = learner.score_steps(tasks, 3, learner.choose(task).engine)[-1][0].losses[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_that_a_backbone_changes_its_heads_logits_is_found_out_once(task: Task, engine: str):
    body = nn.Flatten()
    learner = Learner(Doubled(body, nn.Linear(16, 3).double()), 0.01, engine=engine, adapt="head")
    passes: list[int] = []
    learner.backbone.body.register_forward_pre_hook(lambda *_: passes.append(1))
    counts = []
    for _ in range(2):
        passes.clear()
        learner.meta_gradient(learner.batch([task]), 4)
        counts.append(len(passes))
    assert counts == [6, 5]  # four steps and the queries; the first one tried beforehand


def test_logits_that_are_no_numbers_do_not_change_how_later_tasks_are_adapted(task: Task):
    """Else a run resumed after a skipped update would end with other weights."""
    learner = tiny_anil()
    broken = task._replace(support=torch.full_like(task.support, float("nan")))
    learner.meta_gradient(learner.batch([broken]), 2)
    assert learner.reference.head_is_last and learner.choose(task).engine.head_is_last


def test_a_network_that_normalises_nothing_records_nothing_once(task: Task):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 3).double())
    passes: list[int] = []
    backbone[0].register_forward_pre_hook(lambda *_: passes.append(1))
    learner = Learner(backbone, 0.01, adapt="head")
    weights = learner.reference.start(1, Inner())
    support = task.support[None]
    assert [weights.record(support) for _ in range(3)] == [{}] * 3
    assert len(passes) == 1
