import copy

import pytest
import torch
from strangers import BACKBONES, Scale, some_backbone, untouched
from torch import nn

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.heads import convert
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task, Tasks
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.meta.engines import choose_engine
from l2l_omniglot.meta.engines.fast_weights import Inner, inner_loop
from l2l_omniglot.meta.engines.learn2learn_engine import Learn2learnEngine
from l2l_omniglot.meta.engines.stacked import StackedEngine
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.inner_rates import InnerRates
from l2l_omniglot.meta.learner import Learner


def by_learn2learn(learner: Learner, tasks: list[Task], steps: int):
    """Losses and summed gradients, task by task through clone and adapt."""
    parts = [learner.meta_gradient(learner.batch([task]), steps) for task in tasks]
    losses = torch.cat([part.scores.losses for part in parts])
    count = len(learner.trained)
    return losses, [sum(part.gradients[number] for part in parts) for number in range(count)]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_stacked_meta_gradient_is_learn2learns(
    stack: ImageStack, name: str, first_order: bool, steps: int
):
    tasks = list(Tasks(stack, range(60), queries=3).batch(0, 3))
    learner = Learner(some_backbone(name).double(), 0.1, first_order, "stacked")
    losses, gradients = by_learn2learn(learner, tasks, steps)
    engine = learner.choose(tasks[0]).engine
    assert engine.name == "stacked"
    found = learner.meta_gradient(learner.batch(tasks), steps, engine)
    torch.testing.assert_close(found.scores.losses, losses, atol=1e-9, rtol=0)
    for one, other in zip(found.gradients, gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("first_order", [True, False])
def test_in_float32_they_agree_too(stack: ImageStack, name: str, first_order: bool):
    torch.manual_seed(0)
    backbone = untouched(name)
    tasks = list(Tasks(stack, range(60), queries=3).batch(0, 3))
    learner = Learner(backbone, 0.04, first_order, "stacked")
    _, gradients = by_learn2learn(learner, tasks, 2)
    found = learner.meta_gradient(learner.batch(tasks), 2, learner.choose(tasks[0]).engine)
    one, other = (torch.cat([g.flatten() for g in each]) for each in (found.gradients, gradients))
    # 1e-4 for most networks and seeds; 1e-2 where a rounding turns a ReLU over.
    assert (one - other).norm() < 0.05 * other.norm()


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("first_order", [True, False])
def test_stacked_steps_leave_the_backbone_alone(stack: ImageStack, tasks: int, first_order: bool):
    learner = Learner(BaseNet(filters=8), 0.4, first_order, "stacked")
    drawn = list(Tasks(stack, range(60), queries=2).batch(0, tasks))
    before = copy.deepcopy(learner.backbone.state_dict())
    engine = learner.choose(drawn[0]).engine
    learner.meta_gradient(learner.batch(drawn), 2, engine)
    learner.score_steps(learner.batch(drawn), 2, engine)
    for name, value in learner.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in learner.backbone.parameters())


def test_evaluation_is_the_same_through_both(stack: ImageStack):
    results = []
    for engine in ("learn2learn", "stacked"):
        torch.manual_seed(1)
        learner = Learner(BaseNet(filters=8).double(), 0.1, engine=engine)
        results.append(evaluate(learner, Tasks(stack, range(60)), 10, 2))
    one, other = results
    assert one.curve.accuracy_per_step == pytest.approx(other.curve.accuracy_per_step, abs=1e-12)
    assert one.curve.loss_per_step == pytest.approx(other.curve.loss_per_step, rel=1e-9)


def test_chunks_do_not_matter(stack: ImageStack, monkeypatch: pytest.MonkeyPatch):
    tasks = list(Tasks(stack, range(60), queries=2).batch(0, 6))
    learner = Learner(some_backbone("basenet").double(), 0.1)
    engine = learner.choose(tasks[0]).engine
    whole = learner.meta_gradient(learner.batch(tasks), 2, engine).gradients
    halves = [
        learner.meta_gradient(learner.batch(part), 2, engine) for part in (tasks[:2], tasks[2:])
    ]
    for number, gradient in enumerate(whole):
        torch.testing.assert_close(gradient, sum(half.gradients[number] for half in halves))
    monkeypatch.setattr("l2l_omniglot.meta.engines.stacked.PIXELS_ON_CPU", 40 * 28 * 28)
    assert (engine.tasks_at_once(10 * 28 * 28), engine.tasks_at_once(75 * 28 * 28)) == (4, 1)


class Mixing(nn.Module):
    """Looks at the whole batch outside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(28 * 28, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1) - images.flatten(1).mean(dim=0))


class Own(nn.Module):
    """Has a parameter beside layers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(28 * 28, 5))
        self.scale = Scale()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale(images.flatten(1) @ self.weight)


class Deciding(nn.Module):
    """Its layer looks at its numbers, which torch cannot map over tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(28 * 28, 5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight * (2 if self.weight.sum() > 0 else 1)


class Counting(nn.Module):
    """Its buffer changes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(28 * 28, 5)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.linear(images.flatten(1))


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        (Mixing(), "Mixing does not treat every image by itself"),
        (Own(), "Own has no stacked form"),
        (Deciding(), "the backbone fails on images of shape"),
        (Counting(), "its buffer 'seen' changes"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, dilation=2), nn.Flatten(), nn.Linear(4 * 24 * 24, 5)),
         "Conv2d has no stacked form"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), "LazyLinear"),
    ],
    ids=["mixing", "own parameter", "deciding", "buffer", "dilation", "lazy"],
)  # fmt: skip
def test_what_cannot_be_stacked_goes_through_learn2learn_with_a_word(
    stack: ImageStack, backbone: nn.Module, said: str
):
    task = Tasks(stack, range(60), queries=2)[0]
    images = torch.cat([task.support, task.query])
    if said == "LazyLinear":
        backbone(images)  # takes its shape, and becomes an nn.Linear
    backbone = convert(backbone)
    reference = Learn2learnEngine(backbone, InnerRates(backbone, 0.1))
    choice = choose_engine("auto", reference, backbone, images)
    if said == "LazyLinear":
        assert choice.engine.name == "stacked"
        return
    assert choice.engine is reference
    assert said in choice.reason
    with pytest.raises(BackboneError, match="--engine stacked cannot take this backbone"):
        choose_engine("stacked", reference, backbone, images)
    learner = Learner(backbone, 0.1)
    assert evaluate(learner, Tasks(stack, range(60), queries=2), 2, 1).steps == 1


def test_a_tied_weight_is_one_weight(stack: ImageStack):
    first, second = nn.Linear(28 * 28, 28 * 28), nn.Linear(28 * 28, 28 * 28)
    second.weight = first.weight
    network = nn.Sequential(nn.Flatten(), first, nn.Tanh(), second, nn.Linear(28 * 28, 5)).double()
    tasks = list(Tasks(stack, range(60), queries=2).batch(0, 2))
    learner = Learner(network, 0.1, engine="stacked")
    _, gradients = by_learn2learn(learner, tasks, 2)
    found = learner.meta_gradient(learner.batch(tasks), 2, learner.choose(tasks[0]).engine)
    for one, other in zip(found.gradients, gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_parameters_stay_in_stacked_tasks(stack: ImageStack):
    network = some_backbone("basenet").double()
    network.block2.requires_grad_(False)
    tasks = list(Tasks(stack, range(60), queries=2).batch(0, 2))
    learner = Learner(network, 0.1, engine="stacked")
    _, gradients = by_learn2learn(learner, tasks, 2)
    found = learner.meta_gradient(learner.batch(tasks), 2, learner.choose(tasks[0]).engine)
    assert len(found.gradients) == len(gradients) == 14
    for one, other in zip(found.gradients, gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_unknown_engine_and_too_many_tasks_for_learn2learn():
    with pytest.raises(SettingsError, match="engine='fast': expected one of auto, learn2learn"):
        Learner(BaseNet(), 0.1, engine="fast")
    with pytest.raises(ValueError, match="takes 1"):
        Learn2learnEngine(BaseNet(), InnerRates(BaseNet(), 0.1)).start(2, Inner())


def test_first_order_steps_keep_no_graph_of_their_gradients():
    backbone = convert(BaseNet(filters=4))
    engine = StackedEngine(backbone, InnerRates(backbone, 0.1))
    weights = engine.start(2, Inner(3))
    images, labels = torch.rand(2, 5, 1, 28, 28), torch.arange(5).expand(2, 5)
    for _ in inner_loop(weights, images, labels):
        pass
    node, names = weights.named()["linear.weight"].grad_fn, []
    while node is not None:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    assert names[:3] == ["AddBackward0"] * 3
    assert len(names) <= 7  # of two copies, then the parameter
