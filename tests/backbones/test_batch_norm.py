"""Batch normalisation by given moments: no image sees another, and all is differentiable."""

import pytest
import torch
from strangers import some_backbone, untouched
from tiny import TinyNet, tiny_task
from torch import nn

from l2l_omniglot.backbones.batch_norm import (
    BY_BATCH,
    BY_SUPPORT,
    Policy,
    average_moments,
    convert_norms,
    forward_by,
    record_moments,
)
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task, TaskBatch, Tasks
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint, read_checkpoint
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.meta.engines.fast_weights import FastWeights, Inner, inner_loop, task_losses
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.rules import differentiate, score

NAMES = ["basenet", "cnn4", "fc", "residual"]
ENGINES = ["learn2learn", "stacked"]


@pytest.fixture
def tasks(stack: ImageStack) -> Tasks:
    return Tasks(stack, range(60), queries=3)


def logits_by_support(network: nn.Module, support: torch.Tensor, images: torch.Tensor):
    return forward_by(network, record_moments(network, support), images)


def adapt(learner: Learner, batch: TaskBatch, engine: str) -> FastWeights:
    """The weights after two steps."""
    kinds = {"learn2learn": learner.reference, "stacked": learner.choose(first(batch)).engine}
    chosen = kinds[engine]
    assert chosen.name == engine
    weights = chosen.start(len(batch.support), Inner(2))
    for _ in inner_loop(weights, batch.support, batch.support_labels):
        pass
    return weights


def adapted_logits(learner: Learner, batch: TaskBatch, engine: str, query: torch.Tensor):
    """Inductive and transductive logits of query images after two steps."""
    weights = adapt(learner, batch, engine)
    with torch.no_grad():
        return weights.logits(query, weights.record(batch.support)), weights.logits(query)


def first(batch: TaskBatch) -> Task:
    parts = (part[0] for part in batch[:4])
    return Task(*parts, tuple(range(batch.ways)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_query_has_the_same_logits_alone_and_in_company(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name).double(), 0.1, engine="stacked")
    batch = learner.batch([tasks[0]])
    together, transductive = adapted_logits(learner, batch, engine, batch.query)
    alone = [
        adapted_logits(learner, batch, engine, batch.query[:, i : i + 1].repeat(1, 2, 1, 1, 1))[0]
        for i in range(4)
    ]
    for number, logits in enumerate(alone):
        torch.testing.assert_close(logits[:, 0], together[:, number], atol=1e-9, rtol=0)
    assert (together - transductive).abs().max() > 1e-2  # not the same thing by accident


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_single_query_is_enough(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name).double(), 0.1, engine="stacked")
    batch = learner.batch([tasks[0]])
    together, _ = adapted_logits(learner, batch, engine, batch.query)
    weights = adapt(learner, batch, engine)
    with torch.no_grad():
        alone = weights.logits(batch.query[:, :1], weights.record(batch.support))
    torch.testing.assert_close(alone[:, 0], together[:, 0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_queries_does_not_matter(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name).double(), 0.1, engine="stacked")
    batch = learner.batch([tasks[1]])
    order = torch.randperm(batch.query.shape[1])
    one, _ = adapted_logits(learner, batch, engine, batch.query)
    other, _ = adapted_logits(learner, batch, engine, batch.query[:, order])
    torch.testing.assert_close(other, one[:, order], atol=1e-9, rtol=0)


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
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()
    network, support = nn.Sequential(*layers).double(), torch.rand(6, 1, 5, 5).double()
    with torch.no_grad():
        expected = network(support)
        found = logits_by_support(convert_norms(network), support, support)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


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
            "WithActivation '1' does more than",
        ),
        (Hidden(), "affect each other outside torch's batch normalisation"),
    ],
)
def test_what_cannot_be_inductive_is_refused(tasks: Tasks, network: nn.Module, said: str):
    learner = Learner(network, 0.1)
    with pytest.raises(BackboneError, match=said):
        evaluate(learner, tasks, 2, 1, batch_norm="both")
    assert evaluate(learner, tasks, 2, 1).batch_norm == "transductive"
    with pytest.raises(SettingsError, match="'inductiv': expected one of"):
        learner.score_steps(learner.batch([tasks[0]]), 1, None, ("inductiv",))


class Moody(nn.Module):
    """Uses its normalisation once more for a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, track_running_stats=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(images)
        return (self.norm(hidden) if len(images) == 1 else hidden).flatten(1)


def test_a_layer_used_more_often_for_queries_is_refused():
    with pytest.raises(BackboneError, match="'norm' is used more often than in the pass"):
        images = torch.rand(3, 1, 2, 2)
        logits_by_support(convert_norms(Moody()), images, images[:1])


class Twice(nn.Module):
    """Smooth, and uses its first normalisation twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.plain, self.linear = nn.BatchNorm1d(8, affine=False), nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(torch.tanh(self.norm(self.conv(images))))
        return self.linear(self.plain(torch.tanh(hidden).flatten(1)))


def smooth(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = kind().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


class BySupport(nn.Module):
    """A network that takes the support set along."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, support: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return logits_by_support(self.network, support, query)


@pytest.mark.parametrize("kind", [TinyNet, Twice])
def test_support_statistics_are_differentiable_twice_in_weights_and_images(kind):
    network, task = BySupport(Learner(smooth(kind), 0.1).backbone), tiny_task()
    names = [name for name, _ in network.named_parameters()]

    def loss(support: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        named = dict(zip(names, weights, strict=True))
        logits = torch.func.functional_call(network, named, (support, task.query))
        return nn.functional.cross_entropy(logits, task.query_labels)

    given = [t.detach().clone().requires_grad_() for t in (task.support, *network.parameters())]
    assert torch.autograd.gradcheck(loss, given)
    assert torch.autograd.gradgradcheck(loss, given)


def choose(learner: Learner, task: Task, engine: str):
    chosen = learner.reference if engine == "learn2learn" else learner.choose(task).engine
    assert chosen.name == engine
    return chosen


def meta_loss(learner: Learner, task: Task, engine: str, steps: int) -> torch.Tensor:
    """Inner steps on losses of the query set by support statistics; then the same loss.

    Its gradient has the second derivative of what goes by the moments in it.
    """
    batch = learner.batch([task, tiny_task(3)] if engine == "stacked" else [task])
    inner = Inner(first_order=False)
    weights = choose(learner, task, engine).start(len(batch.support), inner)

    def losses() -> torch.Tensor:
        moments = weights.record(batch.support)
        return task_losses(weights.logits(batch.query, moments), batch.query_labels)

    for _ in range(steps):
        weights.step(losses())
    return losses().sum()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [TinyNet, Twice])
@pytest.mark.parametrize("steps", [0, 2])
def test_gradients_pass_through_the_support_sets_moments(kind, engine: str, steps: int):
    learner = Learner(smooth(kind), 0.3, engine="stacked")
    found = differentiate(meta_loss(learner, tiny_task(), engine, steps), learner.trained)
    for parameter, gradient in zip(learner.trained, found, strict=True):
        flat, differences = parameter.data.view(-1), []
        for number in range(flat.numel()):
            value, around = flat[number].item(), []
            for shifted in (value + 1e-6, value - 1e-6):
                flat[number] = shifted
                around.append(meta_loss(learner, tiny_task(), engine, steps).item())
            flat[number] = value
            differences.append((around[0] - around[1]) / 2e-6)
        expected = torch.tensor(differences, dtype=torch.float64).view_as(gradient)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_through_moments_are_the_same_in_both_engines(tasks: Tasks, name: str):
    learner = Learner(some_backbone(name).double(), 0.1, engine="stacked")
    drawn = [tasks[number] for number in range(3)]
    found = []
    for parts in (drawn,), [[task] for task in drawn]:
        sums = [torch.zeros_like(p) for p in learner.trained]
        for part in parts:
            engine = choose(learner, drawn[0], "stacked" if len(part) > 1 else "learn2learn")
            batch = learner.batch(part)
            weights = engine.start(len(part), Inner(1, first_order=False))
            steps = inner_loop(weights, batch.support, batch.support_labels)
            loss = sum(score(one, batch, BY_SUPPORT).losses.sum() for one in steps)
            for total, gradient in zip(sums, differentiate(loss, learner.trained), strict=True):
                total.add_(0 if gradient is None else gradient)
        found.append(sums)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_population_statistics_are_those_of_torchs_running_averages(tasks: Tasks, name: str):
    """In both engines, for weights that were not recorded with, and with gradients."""
    network = some_backbone(name).double()
    learner = Learner(network, 0.1, engine="stacked")
    drawn = [tasks[number] for number in range(2)]
    batch, count = learner.batch(drawn), len(drawn)
    recorded = []
    for task in drawn:
        one = learner.reference.start(1, Inner())
        recorded.append(one.record(learner.batch([task]).query))
    both = choose(learner, drawn[0], "stacked").start(count, Inner()).record(batch.query)
    population, again = average_moments(recorded), average_moments([both])
    assert population.keys() == again.keys()
    for key, one in population.items():
        torch.testing.assert_close(one, again[key])
        assert not one.requires_grad and one.shape[1] == 1
    with torch.no_grad():
        for parameter in network.parameters():  # a bias before the normalisation counts now
            parameter.add_(0.1 * torch.randn_like(parameter))
    torchs = untouched(name).double().eval()
    torchs.load_state_dict(network.state_dict(), strict=False)
    for layer, module in torchs.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_var, module.running_mean = population[f"{layer}/0"][:, 0]
    expected = torchs(batch.query.flatten(0, 1))
    loss = nn.functional.cross_entropy(expected, batch.query_labels.flatten())
    slopes = torch.autograd.grad(loss, list(torchs.parameters()))
    stacked = choose(learner, drawn[0], "stacked").start(count, Inner())
    result = score(stacked, batch, Policy("population", population))
    torch.testing.assert_close(result.losses.mean(), loss)
    found = differentiate(result.losses.mean(), learner.trained)
    for one, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(one, other)
    alone = learner.reference.start(1, Inner()).logits(batch.query[:1], population)
    torch.testing.assert_close(alone[0], expected[: batch.query.shape[1]])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_no_task_changes_another_under_any_policy(tasks: Tasks, name: str, engine: str):
    learner = Learner(some_backbone(name), 0.1, engine="stacked")
    population = average_moments([record_moments(learner.backbone, tasks[9].query)])
    kept = {key: found.clone() for key, found in population.items()}

    def losses(policy, number: int) -> torch.Tensor:
        batch = learner.batch([tasks[number]])
        weights = choose(learner, tasks[0], engine).start(1, Inner(2, policy=policy))
        steps = inner_loop(weights, batch.support, batch.support_labels)
        return torch.cat([score(adapted, batch, policy).losses.detach() for adapted in steps])

    policies = BY_BATCH, BY_SUPPORT, Policy("population", population)
    alone = [losses(policy, 4) for policy in policies]
    assert (alone[0] - alone[1]).abs().max() > 1e-3 < (alone[1] - alone[2]).abs().max()
    for policy in policies:
        losses(policy, 5)
    for policy, expected in zip(policies, alone, strict=True):
        assert torch.equal(losses(policy, 4), expected)
    assert all(torch.equal(found, population[key]) for key, found in kept.items())


def test_moments_of_layers_that_were_not_recorded_are_refused():
    network = TinyNet()
    with pytest.raises(BackboneError, match="'norm' is used more often"):
        forward_by(convert_norms(network), {}, torch.rand(3, 1, 4, 4))


def test_a_learner_scores_and_trains_by_population_statistics(tasks: Tasks):
    learner = Learner(some_backbone("basenet").double(), 0.1, statistics="population")
    batch = learner.batch([tasks[0]])
    with pytest.raises(BackboneError, match="no population statistics; expected those of a run"):
        learner.score_steps(batch, 1, batch_norms=["inductive"])
    learner.measure_population(tasks.batch(1, 3))
    assert learner.population
    kept = {name: tensor.clone() for name, tensor in learner.population.items()}
    found = learner.score_steps(batch, 2, batch_norms=["transductive", "inductive"])
    modes = "transductive", "inductive"
    apart = [learner.score_steps(batch, 2, batch_norms=[how]) for how in modes]
    for step, scores in enumerate(found):
        for mode, score_of_mode in enumerate(scores):
            assert torch.equal(score_of_mode.losses, apart[mode][step][0].losses)
    learner.check_inductive(tasks[0])
    for name, tensor in learner.population.items():
        assert torch.equal(tensor, kept[name])  # no task has changed it
    losses = {}
    for statistics in ("batch", "support", "population"):
        learner.train_statistics = statistics
        losses[statistics] = float(learner.meta_gradient(batch, 1).scores.losses)
    assert losses["population"] == pytest.approx(float(found[1][1].losses), rel=1e-9)
    assert len(set(losses.values())) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_statistics_per_step_are_those_after_as_many_steps(tasks: Tasks, engine: str):
    network = some_backbone("basenet").double()
    learner = Learner(
        network, 0.1, inner_steps=2, statistics="per-step", train_statistics="per-step"
    )
    with pytest.raises(BackboneError, match="no per-step statistics"):
        learner.policy("inductive")
    learner.measure_population([tasks[1]])
    task, batch = learner.batch([tasks[1]]), learner.batch([tasks[0]])
    steps = inner_loop(learner.reference.start(1, Inner(2)), task.support, task.support_labels)
    whole, policy = torch.cat([task.support, task.query], dim=1), learner.policy("inductive")
    for number, weights in enumerate(steps):
        found, expected = policy.for_support(number), weights.record(whole)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
    beyond, last = policy.for_query(9, dict), policy.for_support(2)
    assert all(beyond[key] is last[key] for key in last)

    chosen = choose(learner, tasks[0], engine)
    weights = chosen.start(1, Inner(3, policy=policy))
    scores = [score(w, batch, policy) for w in inner_loop(weights, *batch[:2])]
    one = learner.reference.start(1, Inner())
    losses = task_losses(one.logits(batch.support, policy.for_support(0)), batch.support_labels)
    one.step(losses)
    expected = task_losses(one.logits(batch.query, policy.for_support(1)), batch.query_labels)
    torch.testing.assert_close(scores[1].losses, expected)
    with_steps = learner.score_steps(batch, 3, chosen, ["transductive", "inductive"])
    for (_, inductive), alone in zip(with_steps, scores, strict=True):
        torch.testing.assert_close(inductive.losses, alone.losses)
    learner.check_inductive(tasks[0])
    assert learner.meta_gradient(batch, 2, chosen).gradients[0].abs().max() > 0


def test_statistics_per_step_and_of_the_population_stand_side_by_side(tasks: Tasks):
    network = some_backbone("basenet")
    learner = Learner(network, 0.1, statistics="population", train_statistics="per-step")
    learner.measure_population([tasks[1]])
    losses = [learner.meta_gradient(learner.batch([tasks[0]]), 1).scores.losses]
    learner.train_statistics = "population"
    losses.append(learner.meta_gradient(learner.batch([tasks[0]]), 1).scores.losses)
    assert losses[0] != losses[1]
    assert learner.score_steps(learner.batch([tasks[0]]), 1, batch_norms=["inductive"])
    saved = Checkpoint(Settings(), 0, {}, population=learner.population).to_bytes()
    assert read_checkpoint(saved, "memory").population.keys() == learner.population.keys()
