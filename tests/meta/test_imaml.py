"""iMAML's gradient: of a quadratic problem exactly, and of the inner loop's own minimum."""

from functools import partial
from typing import Any

import pytest
import torch
from tiny import TinyNet, flat_gradient, meta_loss, tiny_task
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from l2l_omniglot.data.tasks import Task
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.learners import build_learner
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.meta.engines.fast_weights import inner_loop
from l2l_omniglot.meta.imaml import imaml, solve
from l2l_omniglot.meta.learner import Learner


def test_a_quadratic_problem_has_its_exact_implicit_gradient():
    """Two tasks: support loss w'Hw / 2 - b'w, query loss c'w; the minimum is linear in theta."""
    torch.manual_seed(0)
    roots = torch.randn(2, 6, 6, dtype=torch.float64)
    hessians, slopes = roots @ roots.mT, torch.randn(2, 6, dtype=torch.float64)
    theta, wanted = (torch.randn(2, 6, dtype=torch.float64) for _ in range(2))
    pull, eye = 2.0, torch.eye(6, dtype=torch.float64)

    def minimum(start: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve(hessians + pull * eye, slopes + pull * start)

    start = theta.clone().requires_grad_()
    (expected,) = torch.autograd.grad((minimum(start) * wanted).sum(), start)

    def product(rows: torch.Tensor) -> torch.Tensor:
        return rows + (hessians @ rows[..., None])[..., 0] / pull

    torch.testing.assert_close(solve(product, wanted, 6), expected)
    early = [float((solve(product, wanted, n) - expected).norm()) for n in (0, 2, 5)]
    assert early == sorted(early, reverse=True)


def test_the_solver_ends_when_what_is_left_is_small():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(2, 6, generator=generator, dtype=torch.float64)
    scales = torch.linspace(1, 1.5, 6, dtype=torch.float64)
    products = []

    def product(way: torch.Tensor) -> torch.Tensor:
        products.append(way)
        return way * scales

    found = solve(product, rows, 6, tolerance=0.01)
    left = (rows - found * scales).norm(dim=1) / rows.norm(dim=1)
    assert len(products) < 6 and float(left.max()) <= 0.01
    products.clear()
    solve(product, rows, 2, tolerance=0.01)
    assert len(products) == 2  # at most as many as it may take


def test_conjugate_gradients_stop_where_there_is_nothing_left_or_no_curvature():
    rows = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    found = solve(lambda way: way * torch.tensor([[1.0], [2.0], [-1.0]]), rows, 4)
    assert torch.equal(found, torch.tensor([[0.0, 0.0], [0.5, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("engine", ["learn2learn", "stacked"])
@pytest.mark.parametrize("head", ["trained", "shared", "zero"])
def test_at_the_minimum_it_equals_finite_differences(engine: str, head: str):
    """Differences of the query loss after so many steps that the minimum is reached."""
    torch.manual_seed(0)
    steps, task = 40, tiny_task()
    learner = Learner(
        TinyNet().double(), 0.1, True, engine, head=head, proximal=8.0,
        rule=partial(imaml, iterations=50, tolerance=0.0),
    )  # fmt: skip
    shares = (*(0.0,) * steps, 1.0)
    chosen = learner.choose(task).engine
    assert chosen.name == engine
    found = flat_gradient(learner, task, shares, chosen)
    for _ in range(3):
        way = torch.randn_like(found)
        expected = along(learner, task, shares, way)
        assert float(found @ way) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def along(learner: Learner, task: Task, shares: tuple[float, ...], way: torch.Tensor) -> float:
    """The central difference of the meta-loss along a way through all that is trained."""
    start, losses = parameters_to_vector(learner.trained).detach(), []
    for shift in (1e-5, -1e-5, 0.0):
        vector_to_parameters(start + shift * way, learner.trained)
        losses.append(meta_loss(learner, task, shares))
    return (losses[0] - losses[1]) / 2e-5


def test_several_tasks_at_once_are_the_sum_of_each():
    torch.manual_seed(0)
    learner = Learner(
        TinyNet().double(), 0.2, True, "stacked", proximal=2.0, rule="imaml"
    )  # fmt: skip
    tasks = [tiny_task(seed) for seed in range(3)]
    chosen = learner.choose(tasks[0]).engine
    together = learner.meta_gradient(learner.batch(tasks), 5, chosen).gradients
    alone = [learner.meta_gradient(learner.batch([t]), 5).gradients for t in tasks]
    for place, gradient in enumerate(together):
        torch.testing.assert_close(gradient, sum(each[place] for each in alone))


def test_damping_leads_from_the_implicit_gradient_to_that_of_first_order():
    torch.manual_seed(0)
    network, task = TinyNet().double(), tiny_task()

    def gradient(**rule: Any) -> torch.Tensor:
        learner = Learner(network, 0.2, True, proximal=2.0, **rule)
        return flat_gradient(learner, task, (0.0, 0.0, 0.0, 1.0), learner.reference)

    first = gradient()
    far = [
        float((gradient(rule=partial(imaml, damping=damping)) - first).norm() / first.norm())
        for damping in (0.0, 10.0, 1e9)
    ]
    assert far[0] > 2 * far[1] > 0.01
    assert far[2] < 1e-7
    made = build_learner(make_settings(algorithm="imaml", cg_damping=10.0))
    assert made.rule.keywords == {"damping": 10.0}


def test_the_proximal_term_holds_the_weights_back():
    torch.manual_seed(0)
    network, task = TinyNet().double(), tiny_task()
    moved = []
    for pull in (0.0, 2.0, 8.0):
        learner = Learner(network, 0.1, True, proximal=pull)
        batch = learner.batch([task])
        start = learner.reference.start(1, learner.loop(16))
        first = None
        for adapted in inner_loop(start, batch.support, batch.support_labels):
            first = first or adapted.named()
        last = {name: weight.detach() for name, weight in adapted.named().items()}
        moved.append(float(sum((last[n] - first[n].detach()).square().sum() for n in first)))
    assert moved == sorted(moved, reverse=True)


def test_what_it_cannot_train_is_refused():
    with pytest.raises(SettingsError, match="proximal=0.0: expected a number above 0"):
        build_learner(make_settings(algorithm="imaml", proximal=0.0))
    with pytest.raises(SettingsError, match="rule='mamal': expected one of maml, reptile, imaml"):
        Learner(TinyNet(), 0.1, rule="mamal")
    with pytest.raises(SettingsError, match="inner_batch=5: expected all support images for imaml"):
        build_learner(make_settings(algorithm="imaml", inner_batch=5))
    for wrong in ({}, {"proximal": 2.0, "inner_batch": 2}):
        learner = Learner(TinyNet().double(), 0.1, rule="imaml", **wrong)
        with pytest.raises(SettingsError, match="expected"):
            learner.meta_gradient(learner.batch([tiny_task()]), 1)
    learner = Learner(TinyNet().double(), 0.1, rates="parameter", rule="imaml", proximal=2.0)
    with pytest.raises(BackboneError, match="iMAML trains what the inner loop changes"):
        learner.meta_gradient(learner.batch([tiny_task()]), 1)
