import random

import numpy as np
import pytest
import torch
from torch import nn

from l2l_omniglot._util.rng import all_random, derive_seed
from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import SettingsError, TrainingError
from l2l_omniglot.meta.chunks import draws_random_numbers
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import Schedule, Trainer


def make_trainer(
    stack: ImageStack, backbone: nn.Module | None = None, engine: str = "auto", **options
) -> Trainer:
    with all_random("test weights"):
        backbone = backbone or BaseNet(filters=8)
    tasks = Tasks(stack, range(60), queries=2)
    options = {"meta_batch_size": 2, "iterations": 10, "schedule": "cosine", **options}
    return Trainer(Learner(backbone, 0.4, engine=engine), tasks, **options)


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.learner.backbone.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Noisy(nn.Module):
    """A backbone that draws random numbers in training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(28 * 28, 5), nn.Dropout(0.3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.drop(images.flatten(1)))


@pytest.mark.parametrize("kind", [lambda: BaseNet(filters=8), Noisy])
def test_restored_trainer_goes_on_bit_for_bit(stack: ImageStack, kind):
    with all_random("weights"):
        network, twin = kind(), kind()
    straight = make_trainer(stack, network)
    for _ in range(3):
        straight.step()
    saved, state = weights(straight), straight.optimizer_tensors()
    state = {name: tensor.clone() for name, tensor in state.items()}
    results = [straight.step() for _ in range(3)]

    torch.manual_seed(12345)  # whatever happens in between must not matter
    other = make_trainer(stack, twin)
    with torch.no_grad():
        for parameter, value in zip(other.learner.backbone.parameters(), saved, strict=True):
            parameter.copy_(value)
    other.restore(3, state)
    assert [other.step() for _ in range(3)] == results
    assert same(weights(other), weights(straight))


def test_same_seed_same_weights_other_seed_other_weights(stack: ImageStack):
    one, two, three = make_trainer(stack), make_trainer(stack), make_trainer(stack)
    three.tasks = Tasks(stack, range(60), queries=2, seed=1)
    for trainer in (one, two, three):
        trainer.step()
        trainer.step()
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(three))


def test_global_random_state_is_left_alone(stack: ImageStack):
    def state():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    trainer = make_trainer(stack, Noisy())
    before = state()
    trainer.step()
    assert state() == before


def test_schedules(stack: ImageStack):
    constant = make_trainer(stack, schedule="constant", meta_lr=1e-3)
    cosine = make_trainer(stack, schedule="cosine", meta_lr=1e-3, iterations=10)
    rates = []
    for iteration in (0, 5, 10, 15):
        constant.iteration = cosine.iteration = iteration
        assert constant.schedule.lr(constant.iteration) == 1e-3
        rates.append(cosine.schedule.lr(cosine.iteration))
    assert rates == pytest.approx([1e-3, 5e-4, 0, 0])


def test_a_schedule_may_be_an_object(stack: ImageStack):
    by_name = make_trainer(stack, schedule="cosine", meta_lr=1e-3, iterations=10)
    schedule = Schedule(10, 1e-3, "cosine")
    given = make_trainer(stack, schedule=schedule, meta_lr=5.0, iterations=1)
    assert given.schedule is schedule
    assert [by_name.step() for _ in range(3)] == [given.step() for _ in range(3)]
    assert same(weights(by_name), weights(given))


def test_a_first_order_learner_stays_so_under_any_schedule(stack: ImageStack):
    found = []
    for first_order, until in ((True, 0.0), (False, 1.0), (False, 0.0)):
        schedule = Schedule(10, 1e-3, first_order_until=until)
        trainer = make_trainer(stack, schedule=schedule)
        trainer.learner.first_order = first_order
        trainer.step()
        found.append(weights(trainer))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_gradient_is_the_mean_over_the_tasks(stack: ImageStack):
    trainer = make_trainer(stack, BaseNet().double(), meta_batch_size=3)
    tasks = [trainer.tasks[number] for number in range(3)]
    learner = trainer.learner
    by_task = [learner.meta_gradient(learner.batch([task]), 1).gradients for task in tasks]
    trainer.step()
    for number, parameter in enumerate(trainer.learner.backbone.parameters()):
        expected = sum(gradients[number] for gradients in by_task) / 3
        torch.testing.assert_close(parameter.grad, expected)


def test_number_of_threads_makes_no_difference_to_learn2learns_engine(stack: ImageStack):
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            trainer = make_trainer(stack, meta_batch_size=5, engine="learn2learn")
            trainer.step()
            trainer.step()
            assert torch.get_num_threads() == number
            found.append(weights(trainer))
    finally:
        torch.set_num_threads(threads)
    assert same(found[0], found[1]) and same(found[0], found[2])


def test_backbones_that_draw_random_numbers_are_found_out(stack: ImageStack):
    task = Tasks(stack, range(60), queries=2)[0]
    noisy = Learner(Noisy(), 0.1)
    state = torch.get_rng_state()
    assert draws_random_numbers(noisy, task)
    assert torch.equal(torch.get_rng_state(), state)
    with noisy.evaluating():
        assert not draws_random_numbers(noisy, task)
    assert not draws_random_numbers(Learner(BaseNet(filters=8), 0.1), task)


def test_update_is_adams(stack: ImageStack):
    trainer = make_trainer(stack, schedule="constant", meta_lr=1e-3)
    before = weights(trainer)
    trainer.step()
    for old, parameter in zip(before, trainer.learner.backbone.parameters(), strict=True):
        g = parameter.grad  # Adam's first step, Kingma and Ba 2015: m / (sqrt(v) + eps) = sign(g)
        expected = old - 1e-3 * g / (g.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-7, rtol=1e-4)


def test_loss_that_is_no_number_stops_before_it_spoils_the_weights(stack: ImageStack):
    trainer = make_trainer(stack)
    trainer.learner.choose(trainer.tasks[0]).engine.maml.lr = 1e38
    before = weights(trainer)
    with pytest.raises(
        TrainingError,
        match=r"meta-update 1: the loss of task 0, 1 is not finite; a smaller inner learning rate",
    ):
        trainer.step()
    assert same(weights(trainer), before)


def test_bad_settings(stack: ImageStack):
    for options, said in (
        ({"schedule": "step"}, "schedule='step': expected one of constant, cosine"),
        ({"meta_batch_size": 0}, "meta_batch_size=0"),
        ({"inner_steps": -1}, "inner_steps=-1"),
        ({"meta_lr": 0.0}, "meta_lr=0.0"),
    ):
        with pytest.raises(SettingsError, match=said):
            make_trainer(stack, **options)


def test_seeds_do_not_collide_or_depend_on_the_process():
    assert derive_seed("a", 1, 2) == 5801153424851774759  # for good: old runs must resume
    assert derive_seed("a", 12) != derive_seed("a", 1, 2) != derive_seed("a1", 2)


def test_warm_up_begins_again_at_the_change_to_second_order():
    schedule = Schedule(100, 1e-3, first_order_until=0.3, warmup=4)
    rates = [schedule.lr(t) * 1e3 for t in (0, 3, 29, 30, 31, 33, 99)]
    assert rates == pytest.approx([0.25, 1, 1, 0.25, 0.5, 1, 1])
    unchanged = Schedule(100, 1e-3, warmup=4)
    assert [unchanged.lr(t) * 1e3 for t in (0, 3, 30)] == pytest.approx([0.25, 1, 1])


def test_a_long_meta_gradient_is_shortened_and_a_short_one_left(stack: ImageStack):
    def gradient(clip: float) -> torch.Tensor:
        trainer = make_trainer(stack, clip_gradients=clip)
        trainer.step()
        trained = trainer.learner.trained
        return torch.cat([p.grad.flatten() for p in trained if p.grad is not None])

    whole = gradient(0.0)
    length = float(whole.norm())
    torch.testing.assert_close(gradient(length / 4), whole / 4, rtol=1e-4, atol=1e-8)
    assert torch.equal(gradient(length * 2), whole)
    with pytest.raises(SettingsError, match="clip_gradients=-1.0: expected at least 0"):
        make_trainer(stack, clip_gradients=-1.0)


def test_rates_of_layers_stay_positive(stack: ImageStack):
    with all_random("test weights"):
        learner = Learner(BaseNet(filters=8), 0.4, rates="layer-step", inner_steps=2)
    tasks = Tasks(stack, range(60), queries=2)
    trainer = Trainer(learner, tasks, meta_batch_size=2, inner_steps=2, meta_lr=1.0)
    for _ in range(2):
        trainer.step()
    rates = learner.rates.rates
    assert float(rates.detach().min()) == pytest.approx(4e-4)


def test_sgd_goes_down_the_gradient_by_a_rate_that_falls_linearly(stack: ImageStack):
    trainer = make_trainer(stack, optimiser="sgd", schedule="linear", meta_lr=0.5, iterations=4)
    rates = []
    for _ in range(4):
        before = weights(trainer)
        trainer.step()
        for old, parameter in zip(before, trainer.learner.trained, strict=True):
            expected = old - trainer.schedule.lr(trainer.iteration - 1) * parameter.grad
            torch.testing.assert_close(parameter.detach(), expected)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.125])
    with pytest.raises(SettingsError, match="optimiser='adamw': expected one of adam, sgd"):
        make_trainer(stack, optimiser="adamw")
