"""The head: which layer it is, what it is given, and tasks that start it in a way of their own."""

import pytest
import torch
from strangers import some_backbone
from tiny import TinyNet, finite_differences, flat_gradient, tiny_task
from torch import nn

from l2l_omniglot.backbones.head_starts import class_means, make_head
from l2l_omniglot.backbones.heads import (
    convert,
    embed,
    head_name,
    head_parameters,
    resize_rows,
)
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task, Tasks
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.meta.engines import Engine
from l2l_omniglot.meta.engines.fast_weights import Inner, inner_loop
from l2l_omniglot.meta.engines.stacked import StackedEngine
from l2l_omniglot.meta.learner import Learner

NAMES = ["basenet", "cnn4", "fc", "residual"]
HEADS = {"basenet": "linear", "cnn4": "classifier", "fc": "classifier", "residual": "head"}


class HeadFirst(nn.Module):
    """Makes its head before the layer that feeds it, and says so."""

    head_name = "top"

    def __init__(self) -> None:
        super().__init__()
        self.top, self.bottom = nn.Linear(4, 3), nn.Linear(16, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.top(torch.relu(self.bottom(images.flatten(1))))


def test_the_head_is_named_or_has_the_last_parameter():
    for name, head in HEADS.items():
        assert head_name(some_backbone(name)) == head
    assert head_name(nn.Linear(3, 2)) == ""
    assert head_parameters(nn.Linear(3, 2)) == ("weight", "bias")
    assert head_parameters(HeadFirst()) == ("top.weight", "top.bias")


def test_what_a_head_is_given_is_seen_and_it_computes_the_same():
    network, images = HeadFirst(), torch.rand(5, 1, 4, 4)
    logits, given = network(images), torch.relu(network.bottom(images.flatten(1)))
    names = list(network.state_dict())
    assert convert(network) is network
    assert torch.equal(network(images), logits)
    assert torch.equal(embed(network, images), given)
    assert list(network.state_dict()) == names


def test_rows_for_other_ways_are_the_mean_row():
    trained, other = make_backbone("fc", ways=3), make_backbone("fc", ways=5)
    weights = {name: p.detach() for name, p in trained.named_parameters()}
    found = resize_rows(weights, other)
    for name, weight in weights.items():
        if name in head_parameters(other):
            assert len(found[name]) == 5
            for row in found[name]:
                assert torch.equal(row, weight.mean(dim=0))
        else:
            assert found[name] is weight


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_the_same_in_both_engines_under_any_policy(stack: ImageStack, name: str):
    network = some_backbone(name).double()
    learner = Learner(network, 0.1, engine="stacked")
    tasks = list(Tasks(stack, range(60), queries=3).batch(0, 2))
    batch = learner.batch(tasks)
    stacked = learner.choose(tasks[0]).engine.start(2, Inner())
    for number, task in enumerate(tasks):
        one, alone = learner.batch([task]), learner.reference.start(1, Inner())
        for given in (False, True):
            found = stacked.embeddings(
                batch.query, stacked.record(batch.support) if given else None
            )
            other = alone.embeddings(one.query, alone.record(one.support) if given else None)
            torch.testing.assert_close(found[number], other[0])
            if not given:
                expected = embed(network, task.query.double())
                torch.testing.assert_close(other[0], expected)
        for parameter, weight in stacked.named().items():
            assert torch.equal(weight[number], alone.named()[parameter][0])


def with_head(kind: str, rates: str, adapt: str) -> tuple[Learner, dict[str, Engine]]:
    torch.manual_seed(0)
    learner = Learner(TinyNet().double(), 0.3, False, "auto", rates, adapt, 2, head=kind)
    for parameter in learner.head.parameters():
        parameter.data.mul_(0.8)
    engine = StackedEngine(learner.backbone, learner.rates, learner.head)
    return learner, {"learn2learn": learner.reference, "stacked": engine}


def two_ways() -> Task:
    """The tiny task without its last class."""
    task = tiny_task()
    support, query = task.support_labels < 2, task.query_labels < 2
    return Task(
        task.support[support], task.support_labels[support],
        task.query[query], task.query_labels[query], (0, 1),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["shared", "zero", "prototypes"])
@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize(
    ("rates", "adapt", "task"),
    [
        ("fixed", "all", tiny_task()),
        ("fixed", "all", two_ways()),
        ("fixed", "head", two_ways()),
        ("parameter", "all", tiny_task()),
        ("parameter", "all", two_ways()),
    ],
    ids=["maml", "maml, 2 ways", "anil, 2 ways", "meta-sgd", "meta-sgd, 2 ways"],
)
def test_gradients_pass_through_a_computed_head(
    rates: str, adapt: str, task: Task, engine: str, kind: str
):
    learner, engines = with_head(kind, rates, adapt)
    step_weights = (0.3, 0.0, 0.7)
    found = flat_gradient(learner, task, step_weights, engines[engine])
    expected = finite_differences(learner, task, step_weights)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
    if kind == "prototypes":
        assert found[-1].abs() > 0.1  # of the scale
    if kind == "shared":  # one row for all classes cancels in the softmax
        assert found[-8:].abs().max() < 1e-12
    first = [flat_gradient(learner, task, step_weights, e, True) for e in engines.values()]
    torch.testing.assert_close(*first)
    assert (first[0] - found).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["shared", "zero", "prototypes"])
@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_an_inner_step_takes_a_computed_head_as_given(engine: str, kind: str):
    """Its gradient in the other layers does not pass through what the head was computed from."""
    learner, engines = with_head(kind, "fixed", "all")
    task = learner.batch([tiny_task()])
    network = convert(TinyNet().double())
    network.load_state_dict(learner.backbone.state_dict())
    support, labels = task.support[0], task.support_labels[0]
    embeddings = embed(network, support)[None]
    start = learner.head(network.linear.weight[None], embeddings, labels[None])
    with torch.no_grad():
        for parameter, value in zip(network.linear.parameters(), start, strict=True):
            parameter.copy_(value[0])
    nn.functional.cross_entropy(network(support), labels).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(0.3 * parameter.grad)
    weights = engines[engine].start(1, Inner(1))
    for adapted in inner_loop(weights, task.support, task.support_labels):
        logits = adapted.logits(task.query)
    torch.testing.assert_close(logits[0], network(task.query[0]))


def test_prototype_logits_are_distances_to_the_class_means():
    """By hand: |f - c|^2 = |f|^2 - 2 f c + |c|^2, and |f|^2 is the same for every class."""
    learner, engines = with_head("prototypes", "fixed", "all")
    task = learner.batch([tiny_task()])
    support = embed(learner.backbone, task.support[0])
    query = embed(learner.backbone, task.query[0])
    means = torch.stack([support[task.support_labels[0] == way].mean(dim=0) for way in range(3)])
    expected = (-learner.head.scale * torch.cdist(query, means).square()).log_softmax(dim=1)
    for engine in engines.values():
        (weights,) = inner_loop(engine.start(1, Inner()), task.support, task.support_labels)
        found = weights.logits(task.query)[0].log_softmax(dim=1)
        torch.testing.assert_close(found, expected)


def test_class_means_of_unequal_classes():
    labels = torch.tensor([[0, 1, 1, 2, 1]])
    rows = torch.tensor([[[1.0], [2.0], [3.0], [7.0], [7.0]]])
    assert class_means(rows, labels).tolist() == [[[1.0], [4.0], [7.0]]]


@pytest.mark.parametrize("kind", ["shared", "zero", "prototypes"])
def test_a_computed_head_fits_any_number_of_ways(stack: ImageStack, kind: str):
    learner = Learner(make_backbone("conv4", ways=5), 0.1, head=kind)
    for ways in (2, 7):
        batch = learner.batch([Tasks(stack, range(60), ways=ways, queries=3)[0]])
        ((before,), (after,)) = learner.score_steps(batch, 1)
        assert before.predictions.shape == after.predictions.shape == (1, 3 * ways)
        assert int(after.predictions.max()) < ways


def test_a_head_that_cannot_be_replaced_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    with pytest.raises(BackboneError, match=r"parameters of shapes \[\(3, 16\)\]; expected"):
        make_head("zero", network)
    with pytest.raises(SettingsError, match="head='none'"):
        make_head("none", network)


def test_under_autocast_the_head_computes_in_its_own_precision():
    network, images = HeadFirst(), torch.rand(5, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, network = network(images), convert(network)
        given, found = embed(network, images).float(), network(images)
    assert found.dtype == torch.float32 and rounded.dtype == torch.bfloat16
    torch.testing.assert_close(found, network.top(given))


class Cosine(nn.Linear):
    """A head that is not torch's linear layer."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = nn.functional.normalize(self.weight, dim=1)
        return nn.functional.linear(nn.functional.normalize(features, dim=1), rows, self.bias)


@pytest.mark.parametrize("kind", ["trained", "prototypes"])
def test_what_another_head_than_a_linear_one_is_given_is_seen(stack: ImageStack, kind: str):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.Tanh(), Cosine(8, 5)).double()
    learner = Learner(network, 0.1, engine="stacked", head=kind)
    assert convert(network) is network  # once more: it is watched once
    batch = learner.batch([Tasks(stack, range(60), queries=3)[0]])
    expected = network[:3](batch.query[0])
    assert torch.equal(embed(network, batch.query[0]), expected)
    stacked = learner.choose(Tasks(stack, range(60), queries=3)[0]).engine
    found = stacked.start(1, Inner()).embeddings(batch.query)
    torch.testing.assert_close(found[0], expected)
    one, other = (learner.meta_gradient(batch, 1, e) for e in (learner.reference, stacked))
    torch.testing.assert_close(one.scores.losses, other.scores.losses)
