"""Inductive batch normalisation: no query image sees another."""

import pytest
import torch
from test_engines import some_backbone
from torch import nn

from l2l_omniglot.engines.fast_weights import FastWeights, inner_loop
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.evaluation import evaluate
from l2l_omniglot.learner import Learner
from l2l_omniglot.normalisation import normalised_by
from l2l_omniglot.stack import ImageStack
from l2l_omniglot.tasks import Task, TaskBatch, Tasks

NAMES = ["basenet", "cnn4", "fc", "residual"]
ENGINES = ["learn2learn", "stacked"]


@pytest.fixture
def tasks(stack: ImageStack) -> Tasks:
    return Tasks(stack, range(60), queries=3)


def adapt(learner: Learner, batch: TaskBatch, engine: str) -> FastWeights:
    """The weights after two steps."""
    kinds = {"learn2learn": learner.reference, "stacked": learner.choose(first(batch)).engine}
    chosen = kinds[engine]
    assert chosen.name == engine
    weights = chosen.start(len(batch.support), first_order=True)
    for _ in inner_loop(weights, batch.support, batch.support_labels, 2):
        pass
    return weights


def adapted_logits(learner: Learner, batch: TaskBatch, engine: str, query: torch.Tensor):
    """Inductive and transductive logits of query images after two steps."""
    weights = adapt(learner, batch, engine)
    with torch.no_grad():
        return weights.logits(query, batch.support), weights.logits(query)


def first(batch: TaskBatch) -> Task:
    parts = (part[0] for part in batch[:4])
    return Task(*parts, tuple(range(batch.ways)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_query_has_the_same_logits_alone_and_in_company(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name), 0.1, engine="stacked")
    batch = learner.batch([tasks[0]])
    together, transductive = adapted_logits(learner, batch, engine, batch.query)
    alone = [
        adapted_logits(learner, batch, engine, batch.query[:, i : i + 1].repeat(1, 2, 1, 1, 1))[0]
        for i in range(4)
    ]
    for number, logits in enumerate(alone):
        torch.testing.assert_close(logits[:, 0], together[:, number], atol=1e-5, rtol=0)
    assert (together - transductive).abs().max() > 1e-2  # not the same thing by accident


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_single_query_is_enough(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name), 0.1, engine="stacked")
    batch = learner.batch([tasks[0]])
    together, _ = adapted_logits(learner, batch, engine, batch.query)
    weights = adapt(learner, batch, engine)
    with torch.no_grad():
        alone = weights.logits(batch.query[:, :1], batch.support)
    torch.testing.assert_close(alone[:, 0], together[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_queries_does_not_matter(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name), 0.1, engine="stacked")
    batch = learner.batch([tasks[1]])
    order = torch.randperm(batch.query.shape[1])
    one, _ = adapted_logits(learner, batch, engine, batch.query)
    other, _ = adapted_logits(learner, batch, engine, batch.query[:, order])
    torch.testing.assert_close(other, one[:, order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_score_alike(tasks: Tasks, name: str):
    learner = Learner(some_backbone(name).double(), 0.1, engine="stacked")
    drawn = [tasks[i] for i in range(3)]
    stacked = learner.score_steps(
        learner.batch(drawn), 2, learner.choose(drawn[0]).engine, ("inductive",)
    )
    for number, task in enumerate(drawn):
        alone = learner.score_steps(learner.batch([task]), 2, None, ("inductive",))
        for (one,), (all_of_them,) in zip(alone, stacked, strict=True):
            torch.testing.assert_close(one.losses[0], all_of_them.losses[number], rtol=1e-9, atol=0)


def test_the_support_set_itself_is_normalised_as_in_its_own_batch():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    support = torch.rand(6, 1, 5, 5)
    with torch.no_grad():
        found = normalised_by(network, support, support, lambda net, images: net(images))
        torch.testing.assert_close(found, network(support), atol=1e-5, rtol=0)
    assert "forward" not in network[1].__dict__


class WithActivation(nn.BatchNorm2d):
    """A normalisation that does more, as some libraries have it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(images))


class Hidden(nn.Module):
    """Normalises by hand, where no layer can be told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.flatten(1)
        return self.linear(rows - rows.mean(0))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), WithActivation(2), nn.Flatten(), nn.Linear(1352, 5)),
            "WithActivation does something else",
        ),
        (Hidden(), "see each other outside torch's batch normalisation"),
    ],
)
def test_what_cannot_be_inductive_is_refused(tasks: Tasks, network: nn.Module, said: str):
    learner = Learner(network, 0.1)
    with pytest.raises(BackboneError, match=said):
        evaluate(learner, tasks, 2, 1, batch_norm="both")
    assert evaluate(learner, tasks, 2, 1).batch_norm == "transductive"
    with pytest.raises(SettingsError, match="'inductiv': needed one of"):
        learner.score_steps(learner.batch([tasks[0]]), 1, None, ("inductiv",))


class Moody(nn.Module):
    """Uses its normalisation once more for a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, track_running_stats=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(images)
        return self.norm(hidden) if len(images) == 1 else hidden


def test_a_layer_used_more_often_for_queries_is_refused():
    with pytest.raises(BackboneError, match="more often for the query"):
        normalised_by(Moody(), torch.rand(3, 1, 2, 2), torch.rand(1, 1, 2, 2), lambda n, x: n(x))
