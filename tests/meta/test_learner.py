import copy

import pytest
import torch
from tiny import TinyNet
from torch import nn

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.data.tasks import Task, Tasks
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.meta.learner import Learner


@pytest.fixture
def task() -> Task:
    return Task(
        torch.rand(3, 1, 4, 4),
        torch.arange(3),
        torch.rand(9, 1, 4, 4),
        torch.arange(3).repeat(3),
        (0, 1, 2),
    )


def gradients(learner: Learner, task: Task, steps: int) -> tuple[torch.Tensor | None, ...]:
    return learner.meta_gradient(learner.batch([task]), steps).gradients


def losses(learner: Learner, task: Task, steps: int) -> list[float]:
    return [s.losses.item() for (s,) in learner.score_steps(learner.batch([task]), steps)]


def test_task_gradient_leaves_the_backbone_without_gradients(task: Task):
    learner = Learner(TinyNet(), 0.5)
    gradients(learner, task, 2)
    assert all(p.grad is None for p in learner.backbone.parameters())


def test_scores_after_every_step_and_the_backbone_is_untouched(stack: ImageStack):
    learner = Learner(BaseNet(), 0.2)
    before = copy.deepcopy(learner.backbone.state_dict())
    task = Tasks(stack, range(60))[0]
    batch = learner.batch([task])
    scores = [step for (step,) in learner.score_steps(batch, 3)]
    assert len(scores) == 4
    assert scores[0].accuracies.tolist() == [1 / 5]  # exactly: zero initialisation
    assert scores[3].accuracies.item() > 1 / 5
    for name, value in learner.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in learner.backbone.parameters())
    assert learner.backbone.training
    with torch.no_grad():
        again = [step for (step,) in learner.score_steps(batch, 3)]
    assert [s.accuracies for s in again] == [s.accuracies for s in scores]


@pytest.mark.parametrize("name", ["basenet", "cnn4", "fc"])
def test_a_task_scores_the_same_whatever_was_seen_before(stack: ImageStack, name: str):
    learner = Learner(make_backbone(name, ways=5), 0.4)
    tasks = Tasks(stack, range(60))
    alone = losses(learner, tasks[7], 2)
    for number in range(3):
        losses(learner, tasks[number], 2)
        gradients(learner, tasks[number], 1)
    assert losses(learner, tasks[7], 2) == alone


def names(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_parameters()]


class Counter(nn.Module):
    """A backbone with a buffer that every forward pass changes, and a running-statistics norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.linear = nn.Linear(16, 3)
        self.unused = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.linear(self.norm(images).flatten(1)) + self.seen


def test_no_buffer_leaks_and_unused_parameters_are_left_alone(task: Task):
    network = Counter()
    learner = Learner(network, 0.1)
    assert network.norm.running_mean is None
    losses(learner, task, 3)
    found = dict(zip(names(network), gradients(learner, task, 2), strict=True))
    assert network.seen == 0
    assert found["unused.weight"] is None
    assert found["linear.weight"] is not None


class Dropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(16, 3), nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.drop(images.flatten(1)))


def test_evaluation_is_without_dropout(task: Task):
    learner = Learner(Dropout(), 0.1)
    first, again = (losses(learner, task, 2) for _ in range(2))
    assert first == again
    assert learner.backbone.training


def test_threads_leave_evaluation_as_the_first_found_it(task: Task):
    """The second enters before the first leaves, and finds evaluation mode."""
    learner = Learner(Dropout(), 0.1)
    first, second = learner.evaluating(), learner.evaluating()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not learner.backbone.training
    second.__exit__(None, None, None)
    assert learner.backbone.training and learner.backbone.drop.training


def test_frozen_parameters_stay(task: Task):
    network = TinyNet()
    network.conv.weight.requires_grad_(False)
    learner = Learner(network, 0.5)
    assert len(gradients(learner, task, 2)) == 5
    for adapted in learner.adapt(task.support, task.support_labels, 1):
        assert torch.equal(adapted.module.conv.weight, network.conv.weight)
    assert not torch.equal(adapted.module.linear.weight, network.linear.weight)


class Constant(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight, self.shape = nn.Parameter(torch.zeros(1)), shape

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(self.shape)


def test_broken_backbones_are_errors_and_never_printed(
    task: Task, capfd: pytest.CaptureFixture[str]
):
    for network, said in (
        (Constant((3, 3)), "cannot differentiate"),
        (Constant((3, 2)), r"has 2 ways; the task has 3"),
        (Constant((3,)), r"returned \(3,\); expected logits \(3, ways\)"),
        (nn.Linear(7, 3), r"fails on images of shape \(3, 1, 4, 4\)"),
    ):
        with pytest.raises(BackboneError, match=said):
            gradients(Learner(network, 0.1), task, 1)
    assert capfd.readouterr() == ("", "")


def test_inner_learning_rate_must_be_above_zero():
    with pytest.raises(SettingsError, match="eval_inner_lr=0: expected a number above 0"):
        Learner(TinyNet(), 0.1, eval_inner_lr=0)
    for rate in (0.0, -1.0, float("nan")):
        with pytest.raises(SettingsError, match="inner_lr="):
            Learner(TinyNet(), rate)


@pytest.mark.slow
@pytest.mark.parametrize("rates", ["fixed", "parameter", "layer-step"])
@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_evaluation_has_an_inner_rate_of_its_own_and_training_keeps_its(rates: str, engine: str):
    """Compared in float64 with a learner that was built with that rate."""
    drawn = list(Tasks(synthetic_stack(classes=10), range(10), ways=3, queries=2).batch(0, 2))

    def scored(inner_lr: float, other: float | None = None) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(0)
        network = make_backbone("cnn4", ways=3)
        learner = Learner(network, inner_lr, rates=rates, inner_steps=2, eval_inner_lr=other)
        learner = learner.double()
        chosen = Learner.choose(learner, drawn[0]).engine if engine == "stacked" else None
        tasks = [learner.batch(drawn)] if chosen else [learner.batch([task]) for task in drawn]
        scores = [learner.score_steps(task, 2, chosen)[-1][0].losses for task in tasks]
        first = [learner.meta_gradient(task, 2, chosen).gradients[0] for task in tasks]
        return torch.cat(scores), torch.stack(first).sum(0)

    (scores, gradients), slow, fast = scored(0.4, 0.1), scored(0.1), scored(0.4)
    torch.testing.assert_close(scores, slow[0])
    torch.testing.assert_close(gradients, fast[1])
    assert not torch.allclose(scores, fast[0], rtol=1e-3)
    assert not torch.allclose(gradients, slow[1], rtol=1e-3)


def test_learning_lifts_accuracy_well_above_pixels():
    """A short real training: the learner must actually learn to learn."""
    from l2l_omniglot.meta.evaluation import evaluate
    from l2l_omniglot.meta.trainer import Trainer

    stack = synthetic_stack(classes=60)
    learner = Learner(BaseNet(), 0.4)
    tasks = Tasks(stack, range(40), queries=5, rotations=True)
    trainer = Trainer(learner, tasks, meta_lr=3e-3, meta_batch_size=4)
    held_out = Tasks(stack, range(40, 60), name="test")
    before = evaluate(learner, held_out, 20, 1).accuracy
    for _ in range(60):
        trainer.step()
    after = evaluate(learner, held_out, 20, 1).accuracy
    assert after > before + 0.08


def test_training_in_bfloat16_is_close_and_evaluation_does_not_change(stack: ImageStack):
    found = {}
    for bfloat16 in (False, True):
        torch.manual_seed(0)
        network = make_backbone("conv4", ways=5)
        learner = Learner(network, 0.1, inner_steps=0, head="prototypes", bfloat16=bfloat16)
        batch = learner.batch([Tasks(stack, range(60), queries=3)[0]])
        gradient = learner.meta_gradient(batch, 0)
        flat = torch.cat([g.flatten() for g in gradient.gradients if g is not None])
        assert flat.dtype == torch.float32
        found[bfloat16] = learner.score_steps(batch, 0)[0][0].losses, flat, gradient.scores.losses
    assert torch.equal(found[False][0], found[True][0])
    cosine = torch.cosine_similarity(found[False][1], found[True][1], dim=0)
    assert 0.95 < float(cosine) < 0.9999  # 8 bits of a number, not 24


def test_without_inner_steps_auto_takes_torchs_own_layers(stack: ImageStack):
    task = Tasks(stack, range(60), queries=3)[0]
    for steps, engine in ((0, "learn2learn"), (1, "stacked")):
        learner = Learner(make_backbone("basenet", ways=5), 0.1, inner_steps=steps)
        assert learner.choose(task).engine.name == engine
