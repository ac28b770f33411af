"""Reptile by hand; a learner as a module; threads that share a network."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import pytest
import torch
from strangers import some_backbone
from tiny import TinyNet, tiny_task
from torch.nn.functional import cross_entropy

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.batch_norm import forward_by, record_moments
from l2l_omniglot.backbones.heads import convert
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task, Tasks
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import Trainer


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_reptile_with_one_step_is_that_step(engine: str):
    torch.manual_seed(0)
    learner, task = Learner(TinyNet().double(), 0.3, engine=engine, rule="reptile"), tiny_task()
    loss = cross_entropy(learner.backbone(task.support), task.support_labels)
    expected = torch.autograd.grad(loss, learner.trained)
    found = learner.meta_gradient(learner.batch([task]), 1, learner.choose(task).engine)
    for one, other in zip(found.gradients, expected, strict=True):
        torch.testing.assert_close(one, 0.3 * other)
    three = [
        learner.meta_gradient(learner.batch([task]), 3, e).gradients
        for e in (learner.reference, learner.choose(task).engine)
    ]
    for one, other in zip(*three, strict=True):
        torch.testing.assert_close(one, other)


def test_reptile_trains_by_the_same_trainer_and_refuses_what_it_cannot(stack: ImageStack):
    torch.manual_seed(0)
    learner = Learner(BaseNet(filters=16), 0.2, rule="reptile")
    tasks = Tasks(stack, range(40), shots=3, queries=5, rotations=True)
    held_out = Tasks(stack, range(40, 60), name="test")
    before = evaluate(learner, held_out, 30, 5)
    trainer = Trainer(learner, tasks, meta_batch_size=5, inner_steps=5, meta_lr=3e-3)
    for _ in range(80):
        trainer.step()
    assert evaluate(learner, held_out, 30, 5).accuracy > before.accuracy + 0.04
    for wrong in ({"head": "prototypes"}, {"rates": "parameter"}, {"adapt": "head"}):
        other = Learner(some_backbone("basenet"), 0.1, rule="reptile", **wrong)
        with pytest.raises(BackboneError, match="Reptile trains what the inner loop changes"):
            other.meta_gradient(other.batch([tasks[0]]), 1)


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize("head", ["trained", "shared", "zero"])
@pytest.mark.parametrize("batch", [0, 2])
def test_reptile_goes_back_to_where_the_tasks_started(engine: str, head: str, batch: int):
    """By hand: plain gradient steps on each task, and the mean of the ways they took."""
    torch.manual_seed(0)
    learner = Learner(
        TinyNet().double(), 0.3, engine=engine, head=head, rule="reptile", inner_batch=batch
    )
    tasks = [tiny_task(seed) for seed in range(3)]
    start = {name: p.detach().clone() for name, p in learner.backbone.named_parameters()}
    if head != "trained":
        row = learner.head.weight.detach() if head == "shared" else torch.zeros(8)
        start["linear.weight"] = torch.zeros_like(start["linear.weight"]) + row
        start["linear.bias"] = torch.zeros_like(start["linear.bias"])
    ways = [plain_way(learner.backbone, start, task, 4, batch) for task in tasks]
    mean = {f"backbone.{name}": sum(way[name] for way in ways) / 3 for name in start}
    if head != "trained":  # of the head, only a shared row is trained
        mean["head.weight"] = mean.pop("backbone.linear.weight").sum(dim=0)
        del mean["backbone.linear.bias"]
    chosen = learner.choose(tasks[0]).engine
    found = [learner.meta_gradient(learner.batch([t]), 4, chosen).gradients for t in tasks]
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    for parameter, *gradients in zip(learner.trained, *found, strict=True):
        name = names[id(parameter)]
        if name in mean:
            torch.testing.assert_close(sum(gradients) / 3, mean[name])
        else:
            assert gradients == [None] * 3, name


def plain_way(
    network: torch.nn.Module, start: dict[str, torch.Tensor], task: Task, steps: int, batch: int
) -> dict[str, torch.Tensor]:
    """The way back after some gradient steps of 0.3, each on all images or the next `batch`."""
    own = start
    pairs = cycle(zip(task.support, task.support_labels, strict=True))
    for _ in range(steps):
        images, labels = zip(*islice(pairs, batch or len(task.support)), strict=True)
        held = {name: value.clone().requires_grad_() for name, value in own.items()}
        logits = torch.func.functional_call(network, held, (torch.stack(images),))
        loss = cross_entropy(logits, torch.stack(labels))
        gradients = torch.autograd.grad(loss, list(held.values()))
        own = {
            name: value - 0.3 * gradient
            for (name, value), gradient in zip(own.items(), gradients, strict=True)
        }
    return {name: start[name] - own[name] for name in start}


def test_a_learner_is_a_module_and_its_state_is_all_that_training_changes(stack: ImageStack):
    def make() -> Learner:
        return Learner(
            some_backbone("basenet"), 0.1, rates="layer-step", head="prototypes",
            statistics="population", train_statistics="population",
        )  # fmt: skip

    tasks = Tasks(stack, range(60), queries=3)
    one, other = make(), make()
    one.measure_population(tasks.batch(0, 2))
    with torch.no_grad():
        for parameter in one.trained:
            parameter.mul_(1.1)
    other.load_state_dict(one.state_dict())
    found = [each.meta_gradient(each.batch([tasks[3]]), 1).gradients for each in (one, other)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True) if a is not None)
    one.double()
    assert {found.dtype for found in one.population.values()} == {torch.float64}
    one.to("meta")
    assert {found.device.type for found in one.population.values()} == {"meta"}
    parts = {name.partition(".")[0] for name in one.state_dict()}
    assert parts == {"backbone", "rates", "head", "_extra_state"}


def test_threads_share_a_network_each_with_moments_of_its_own(stack: ImageStack):
    network = convert(some_backbone("conv4"))
    images = [torch.rand(20, 1, 28, 28) * (1 + number) for number in range(4)]
    query = torch.rand(30, 1, 28, 28)

    @torch.no_grad()
    def logits(number: int) -> torch.Tensor:
        return forward_by(network, record_moments(network, images[number]), query)

    alone = [logits(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for one, other in zip(pool.map(logits, range(4)), alone, strict=True):
                assert torch.equal(one, other)


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_a_parameter_that_was_replaced_is_noticed(engine: str):
    learner, task = Learner(TinyNet().double(), 0.3, engine=engine), tiny_task()
    chosen = learner.choose(task).engine
    learner.meta_gradient(learner.batch([task]), 1, chosen)
    own = learner.backbone.linear
    own.weight = torch.nn.Parameter(own.weight.detach() * 2)
    with pytest.raises(BackboneError, match=r"'linear.weight' was replaced after the learner"):
        learner.meta_gradient(learner.batch([task]), 1, chosen)


def test_eight_threads_adapt_and_predict_with_one_learner(stack: ImageStack):
    network = some_backbone("conv4")
    learner = Learner(network, 0.1, engine="stacked", head="prototypes")
    tasks = list(Tasks(stack, range(60), queries=3).batch(0, 8))
    engines = learner.reference, learner.choose(tasks[0]).engine

    def losses(number: int) -> torch.Tensor:
        batch, engine = learner.batch([tasks[number]]), engines[number % 2]
        scores = learner.score_steps(batch, 2, engine, ["transductive", "inductive"])
        return torch.stack([score.losses for step in scores for score in step])

    learner.backbone.eval()
    alone = [losses(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for one, other in zip(pool.map(losses, range(8)), alone, strict=True):
                assert torch.equal(one, other)
