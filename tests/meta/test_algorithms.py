"""Every algorithm against finite differences of its own meta-loss, and against plain MAML."""

import copy
import dataclasses

import pytest
import torch
from rounding import rounding
from tiny import TinyNet, finite_differences, flat_gradient, tiny_task
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.algorithms import ALGORITHMS
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import Schedule, Trainer

LAST = (0.0, 0.0, 1.0)
KINDS = [
    ("fixed", "all", LAST),
    ("fixed", "head", LAST),
    ("parameter", "all", LAST),
    ("parameter", "head", LAST),
    ("layer-step", "all", LAST),
    ("fixed", "all", (0.0, 0.25, 0.75)),
    ("layer-step", "head", (0.0, 0.4, 0.6)),
]


def tiny_learner(rates: str, adapt: str, first_order: bool = False) -> Learner:
    torch.manual_seed(0)
    network = TinyNet().double()
    learner = Learner(network, 0.5, first_order, "stacked", rates, adapt, inner_steps=2)
    with torch.no_grad():  # learned rates off the one value they start with
        for number, parameter in enumerate(learner.rates.parameters()):
            parameter.mul_(1 + 0.1 * number).add_(0.05 * torch.rand_like(parameter))
    return learner


@pytest.fixture
def task() -> Task:
    return tiny_task()


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize(("rates", "adapt", "step_weights"), KINDS)
def test_second_order_equals_finite_differences(task, rates, adapt, step_weights, engine):
    learner = tiny_learner(rates, adapt)
    chosen = learner.reference if engine == "learn2learn" else learner.choose(task).engine
    assert chosen.name == engine
    found = flat_gradient(learner, task, step_weights, chosen)
    expected = finite_differences(learner, task, step_weights)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
    assert learner.rates.learned == any(p.numel() for p in learner.rates.parameters())


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_any_number_of_steps(task: Task, steps: int):
    learner = tiny_learner("fixed", "all")
    weights = (*(0.0,) * steps, 1.0)
    expected = finite_differences(learner, task, weights)
    found = flat_gradient(learner, task, weights)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
def test_scores_are_cross_entropy_and_the_share_of_right_answers(task: Task, engine: str):
    learner = tiny_learner("fixed", "all")
    chosen = learner.reference if engine == "learn2learn" else learner.choose(task).engine
    logits = learner.backbone(task.query).detach()
    scores = learner.meta_gradient(learner.batch([task]), 0, chosen).scores
    torch.testing.assert_close(scores.losses[0], cross_entropy(logits, task.query_labels))
    right = (logits.argmax(dim=1) == task.query_labels).double().mean()
    torch.testing.assert_close(scores.accuracies[0], right)
    assert torch.equal(scores.predictions[0], logits.argmax(dim=1))


def by_hand(learner: Learner, task: Task, step_weights: tuple[float, ...]) -> torch.Tensor:
    """FOMAML written out: inner gradients at detached weights, taken as constants."""
    names = [name for name, _ in learner.backbone.named_parameters()]
    weights = dict(learner.backbone.named_parameters())
    total = torch.zeros((), dtype=torch.float64)
    for step, share in enumerate(step_weights):
        if share:
            logits = torch.func.functional_call(learner.backbone, weights, (task.query,))
            total = total + share * cross_entropy(logits, task.query_labels)
        if step + 1 == len(step_weights):
            break
        held = {name: weights[name].detach().requires_grad_() for name in names}
        logits = torch.func.functional_call(learner.backbone, held, (task.support,))
        loss = cross_entropy(logits, task.support_labels)
        gradients = torch.autograd.grad(loss, list(held.values()))
        for name, gradient in zip(names, gradients, strict=True):
            if name in learner.rates.names:
                weights[name] = weights[name] - learner.rates.rate(name, step) * gradient
    gradients = torch.autograd.grad(total, learner.trained)
    return torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize(("rates", "adapt", "step_weights"), KINDS)
def test_first_order_takes_inner_gradients_as_constants(task, rates, adapt, step_weights, engine):
    learner = tiny_learner(rates, adapt, first_order=True)
    chosen = learner.reference if engine == "learn2learn" else learner.choose(task).engine
    found = flat_gradient(learner, task, step_weights, chosen)
    torch.testing.assert_close(found, by_hand(learner, task, step_weights))
    second = flat_gradient(learner, task, step_weights, chosen, first_order=False)
    assert (found - second).abs().max() > 1e-3


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize("rates", ["parameter", "layer-step"])
@pytest.mark.parametrize("first_order", [True, False])
def test_rates_that_have_not_learned_yet_give_mamls_numbers(task, rates, first_order, engine):
    torch.manual_seed(0)
    network = TinyNet().double()
    plain = Learner(copy.deepcopy(network), 0.5, first_order, engine)
    other = Learner(copy.deepcopy(network), 0.5, first_order, engine, rates, inner_steps=2)
    count = len(plain.trained)
    found, expected = (
        learner.meta_gradient(learner.batch([task]), 2, learner.choose(task).engine)
        for learner in (other, plain)
    )
    assert torch.equal(found.scores.losses, expected.scores.losses)
    for one, reference in zip(found.gradients[:count], expected.gradients, strict=True):
        torch.testing.assert_close(one, reference, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("first_order", [True, False])
def test_meta_sgd_is_learn2learns(task: Task, first_order: bool):
    learner = tiny_learner("parameter", "all", first_order)
    rates = list(learner.rates.parameters())
    theirs = l2l.algorithms.MetaSGD(
        learner.backbone, lrs=torch.nn.ParameterList(rates), first_order=first_order
    ).clone()
    for _ in range(2):
        theirs.adapt(cross_entropy(theirs(task.support), task.support_labels))
    loss = cross_entropy(theirs(task.query), task.query_labels)
    expected = torch.autograd.grad(loss, learner.trained)
    found = flat_gradient(learner, task, LAST)
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in expected]))


def test_steps_beyond_training_have_the_last_steps_rates():
    rates = tiny_learner("layer-step", "all").rates
    assert torch.equal(rates.rate("linear.bias", 1), rates.rate("linear.weight", 7))
    assert not torch.equal(rates.rate("linear.bias", 0), rates.rate("linear.bias", 1))


def test_schedule_moves_from_all_steps_to_the_last():
    schedule = Schedule(100, 1e-3, multi_step_until=0.5)
    assert schedule.step_weights(0, 4) == (0, 0.25, 0.25, 0.25, 0.25)
    assert schedule.step_weights(25, 4) == (0, 0.125, 0.125, 0.125, 0.625)
    assert schedule.step_weights(50, 4) == schedule.step_weights(99, 4) == (0, 0, 0, 0, 1)
    assert schedule.step_weights(0, 0) == (1,)
    assert Schedule(100, 1e-3).step_weights(0, 2) == (0, 0, 1)  # off: MAML


def test_schedule_begins_in_first_order():
    schedule = Schedule(100, 1e-3, first_order_until=0.3)
    assert [schedule.is_first_order(t) for t in (0, 29, 30, 99)] == [True, True, False, False]
    assert not Schedule(100, 1e-3).is_first_order(0)
    for wrong in ({"multi_step_until": 1.5}, {"first_order_until": -0.1}):
        with pytest.raises(SettingsError, match="_until=.*: expected at "):
            Schedule(100, 1e-3, **wrong)


def test_trainer_follows_the_schedule(stack: ImageStack):
    """A training whose first half is first order goes with first order, then apart."""
    settings = make_settings(iterations=4, meta_batch_size=1, schedule="constant", seed=5)
    mixed = dataclasses.replace(settings, first_order_until=0.5)
    trainers = [
        Experiment.build(s, stack).trainer()
        for s in (mixed, dataclasses.replace(settings, first_order=True))
    ]
    for _ in range(2):
        losses = [trainer.step().loss for trainer in trainers]
        assert losses[0] == losses[1]
    weights = [[p.detach().clone() for p in t.learner.trained] for t in trainers]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    for trainer in trainers:
        trainer.step()
    pairs = zip(*(t.learner.trained for t in trainers), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_trainer_counts_the_loss_of_every_step_while_that_lasts(stack: ImageStack):
    settings = make_settings(
        iterations=2, meta_batch_size=1, inner_steps=2, multi_step_until=0.5, head="trained"
    )
    plain = dataclasses.replace(settings, multi_step_until=0.0)
    gradients = []
    for chosen in (settings, plain):
        experiment = Experiment.build(chosen, stack)
        learner, trainer = experiment.learner, experiment.trainer()
        drawn = experiment.tasks("train")[0]
        batch, engine = learner.batch([drawn]), learner.choose(drawn).engine
        weights = (0.0, 0.5, 0.5) if chosen is settings else LAST
        expected = learner.meta_gradient(batch, 2, engine, step_weights=weights).gradients
        trainer.step()
        bound = rounding(*expected)
        for parameter, gradient in zip(learner.trained, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=bound)
        gradients.append(torch.cat([p.grad.flatten() for p in learner.trained]))
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_step_weights_must_be_one_a_step_and_end_above_zero(task: Task):
    learner = tiny_learner("fixed", "all")
    for wrong in ((1.0,), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)):
        with pytest.raises(SettingsError, match="expected 3, the last above 0"):
            learner.meta_gradient(learner.batch([task]), 2, step_weights=wrong)


def test_freezing_after_the_learner_was_built_is_refused(task: Task):
    for engine in ("learn2learn", "stacked"):
        learner = Learner(TinyNet().double(), 0.5, engine=engine)
        chosen = learner.choose(task).engine
        learner.backbone.conv.weight.requires_grad_(False)
        with pytest.raises(BackboneError, match="freeze first"):
            learner.meta_gradient(learner.batch([task]), 1, chosen)


class HeadFirst(TinyNet):
    """Registers its head before its body."""

    def __init__(self) -> None:
        super().__init__()
        self._modules = dict(reversed(self._modules.items()))


def test_a_backbone_can_name_its_head():
    network = HeadFirst()
    assert Learner(network, 0.5, adapt="head").rates.names == ("conv.weight", "conv.bias")
    network.head_name = "linear"
    assert Learner(network, 0.5, adapt="head").rates.names == ("linear.weight", "linear.bias")
    network.linear.requires_grad_(False)
    with pytest.raises(BackboneError, match="head 'linear' has no parameter that is trained"):
        Learner(network, 0.5, adapt="head")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_saves_and_goes_on_exactly(stack, tmp_path, algorithm):
    steps = 0 if algorithm == "protonet" else 2
    settings = make_settings(
        algorithm=algorithm, iterations=6, meta_batch_size=2, inner_steps=steps, seed=2
    )
    assert settings.algorithm == algorithm
    through = Experiment.build(settings, stack)
    trainer: Trainer = through.trainer()
    for _ in range(3):
        trainer.step()
    path = tmp_path / "half.safetensors"
    through.checkpoint(trainer, through.facts(), resumable=True).save(path)
    for _ in range(3):
        trainer.step()

    from l2l_omniglot.experiments.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    again = Experiment.load(checkpoint, stack)
    resumed = again.trainer()
    resumed.restore(checkpoint.iteration, checkpoint.optimizer)
    for _ in range(3):
        resumed.step()
    pairs = zip(through.learner.trained, again.learner.trained, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    moved = [p for p in again.learner.rates.parameters() if p.min() != p.max()]
    assert bool(moved) == again.learner.rates.learned
    before = Experiment.build(settings, stack).learner.trained
    assert any(not torch.equal(*pair) for pair in zip(before, again.learner.trained, strict=True))


def test_unknown_names_are_refused():
    for wrong, said in (
        ({"algorithm": "mamlpp"}, "algorithm='mamlpp': expected one of maml, fomaml"),
        ({"adapt": "tail"}, "adapt='tail': expected one of all, head"),
        ({"inner_rates": "none"}, "inner_rates='none': expected one of fixed"),
        ({"first_order_until": 2.0}, "first_order_until=2.0: expected at most 1"),
    ):
        with pytest.raises(SettingsError, match=said):
            make_settings(**wrong)
    for keywords in ({"adapt": "tail"}, {"rates": "none"}):
        with pytest.raises(SettingsError, match="expected one of"):
            Learner(TinyNet(), 0.1, **keywords)


def test_recipes_and_options_decide_beside_an_algorithm():
    assert make_settings(algorithm="maml++").inner_steps == 5
    assert make_settings(algorithm="maml++", inner_steps=2).inner_steps == 2
    assert make_settings("tutorial").algorithm == "fomaml"
    assert make_settings("tutorial", algorithm="maml").first_order is False
    assert make_settings("tutorial", algorithm="anil").first_order is True


def test_the_name_of_an_algorithm_says_what_its_parts_are():
    for given, expected in (
        ({}, "maml"),
        ({"first_order": True}, "fomaml"),
        ({"first_order_until": 1.0}, "fomaml"),
        ({"adapt": "head"}, "anil"),
        ({"inner_rates": "parameter"}, "meta-sgd"),
        ({"inner_rates": "layer-step"}, "maml"),
        ({"inner_rates": "layer-step", "multi_step_until": 0.2}, "maml++"),
        ({"head": "prototypes", "inner_steps": 0}, "protonet"),
        ({"head": "prototypes"}, "maml"),
        ({"rule": "reptile", "head": "zero"}, "reptile"),
        ({"rule": "imaml", "proximal": 1.0}, "imaml"),
        ({"algorithm": "meta-sgd", "adapt": "head"}, "meta-sgd"),
        ({"algorithm": "anil", "inner_rates": "parameter"}, "anil"),
        ({"algorithm": "maml++", "first_order_until": 0.0}, "maml++"),
    ):
        assert make_settings(**given).algorithm == expected, given
    for algorithm in ALGORITHMS:
        assert make_settings(algorithm=algorithm).algorithm == algorithm
        assert make_settings("paper", algorithm=algorithm, ways=20).algorithm == algorithm
    changed = dataclasses.replace(make_settings(algorithm="maml"), first_order=True)
    assert changed.algorithm == "fomaml"


@pytest.mark.parametrize(
    ("recipe", "given", "found"),
    [
        ("default", {"algorithm": "maml", "first_order": True}, "fomaml"),
        ("default", {"algorithm": "anil", "adapt": "all"}, "maml"),
        ("default", {"algorithm": "reptile", "rule": "maml"}, "fomaml"),
        ("best", {"algorithm": "maml"}, "protonet"),
        ("default", {"algorithm": "protonet", "inner_steps": 1}, "maml"),
    ],
)
def test_a_name_that_contradicts_its_parts_is_refused(recipe, given, found):
    said = f"algorithm='{given['algorithm']}': with the other settings that is {found}; expected"
    with pytest.raises(SettingsError, match=said):
        make_settings(recipe, **given)


def test_the_papers_of_reptile_and_imaml_have_recipes_of_their_own():
    five, twenty = (make_settings("paper", algorithm="reptile", ways=ways) for ways in (5, 20))
    assert (five.inner_steps, five.eval_steps, five.train_shots, five.iterations) == (
        5, 50, 10, 100_000,
    )  # fmt: skip
    assert (twenty.inner_steps, twenty.meta_batch_size, twenty.iterations) == (10, 5, 200_000)
    assert (five.inner_batch, twenty.inner_batch) == (10, 20)
    for settings in (five, twenty):
        assert (settings.optimiser, settings.meta_lr, settings.schedule) == ("sgd", 1.0, "linear")
        assert (settings.backbone, settings.head) == ("cnn4", "trained")
    five, twenty = (make_settings("paper", algorithm="imaml", ways=ways) for ways in (5, 20))
    assert (five.proximal, five.inner_steps, five.eval_steps) == (2.0, 16, 16)
    assert (twenty.inner_steps, twenty.eval_steps, twenty.backbone) == (25, 25, "cnn4")
