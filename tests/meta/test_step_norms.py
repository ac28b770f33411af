"""Scale and shift of batch normalisation for each inner step: gradients, steps, checkpoints."""

from pathlib import Path

import pytest
import torch
from tiny import Silent, TinyNet, finite_differences, flat_gradient, tiny_task
from torch.nn.functional import cross_entropy

from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.learner import Learner

ENGINES = ["learn2learn", "stacked"]


def make_learner(engine: str, head: str = "trained", rates: str = "fixed") -> Learner:
    """Two steps, with other values in each."""
    torch.manual_seed(0)
    learner = Learner(
        TinyNet().double(), 0.5, False, engine, rates, inner_steps=2, head=head,
        norm_weights="per-step",
    )  # fmt: skip
    with torch.no_grad():
        for values in learner.norms.parameters():
            values.add_(0.2 * torch.randn_like(values))
    return learner


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("head", ["trained", "shared", "prototypes"])
@pytest.mark.parametrize("rates", ["fixed", "layer-step"])
def test_they_are_trained_by_the_whole_gradient(engine: str, head: str, rates: str):
    learner, task, shares = make_learner(engine, head, rates), tiny_task(), (0.2, 0.3, 0.5)
    chosen = learner.choose(task).engine
    assert chosen.name == engine
    found = flat_gradient(learner, task, shares, chosen)
    expected = finite_differences(learner, task, shares)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
    assert found[-sum(values.numel() for values in learner.norms.parameters()) :].all()


def test_each_step_has_its_own_and_adapts_none():
    """By hand: two steps of everything else, with the values of steps 0, 1 and 2."""
    learner, task = make_learner("learn2learn"), tiny_task()
    scales, shifts = learner.norms.values
    assert learner.norms.names == ("norm.weight", "norm.bias")
    own = {name: p.detach() for name, p in learner.backbone.named_parameters()}
    for step, adapted in enumerate(learner.adapt(task.support, task.support_labels, 3)):
        own |= {"norm.weight": scales[min(step, 2)], "norm.bias": shifts[min(step, 2)]}
        expected = torch.func.functional_call(learner.backbone, own, (task.query,))
        torch.testing.assert_close(adapted(task.query), expected)
        held = {name: value.detach().requires_grad_() for name, value in own.items()}
        logits = torch.func.functional_call(learner.backbone, held, (task.support,))
        loss = cross_entropy(logits, task.support_labels)
        gradients = torch.autograd.grad(loss, list(held.values()))
        own = {
            name: value if name.startswith("norm") else value - 0.5 * gradient
            for (name, value), gradient in zip(held.items(), gradients, strict=True)
        }


def test_they_begin_as_the_backbones():
    network = TinyNet()
    with torch.no_grad():
        network.norm.weight.copy_(torch.tensor([0.5, 2.0]))
    norms = Learner(network, 0.1, inner_steps=3, norm_weights="per-step").norms
    assert torch.equal(norms.values[0], torch.tensor([[0.5, 2.0]] * 4))
    assert Learner(TinyNet(), 0.1, inner_steps=3).norms.names == ()


def test_what_does_not_go_with_them_is_refused():
    with pytest.raises(SettingsError, match="norm_weights='each': expected one of adapted, per-st"):
        Learner(TinyNet(), 0.1, norm_weights="each")
    learner = Learner(TinyNet().double(), 0.1, rule="reptile", norm_weights="per-step")
    with pytest.raises(
        BackboneError, match="Reptile trains what .* norm weights too, adapted by fixed rates"
    ):
        learner.meta_gradient(learner.batch([tiny_task()]), 1)


def test_a_checkpoint_has_them(stack: ImageStack, tmp_path: Path):
    settings = make_settings(
        algorithm="maml++", norm_weights="per-step", iterations=4, meta_batch_size=2,
        inner_steps=2, meta_lr=0.1, statistics="per-step",
    )  # fmt: skip
    experiment = Experiment.build(settings, stack)
    trainer = experiment.trainer()
    for _ in range(2):
        trainer.step()
    experiment.measure_population()
    values = experiment.learner.norms.values[0]
    assert not torch.equal(values[0], values[1])
    path = tmp_path / "weights.safetensors"
    experiment.checkpoint(trainer, experiment.facts(), resumable=True).save(path)
    again = Experiment.load(load_checkpoint(path), stack)
    found = [
        evaluate(each.learner, each.tasks("validation"), 4, 3, batch_norm="both").curves
        for each in (experiment, again)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("statistics", ["population", "per-step"])
def test_training_by_measured_statistics_begins_and_is_resumed(
    stack: ImageStack, tmp_path: Path, statistics: str
):
    settings = make_settings(
        train_statistics=statistics, iterations=4, meta_batch_size=2, validation_every=4,
        validation_tasks=2, inner_lr=0.1,
    )  # fmt: skip
    found = []
    for stops in ((), (2,)):
        folder = RunFolder(tmp_path / f"run{len(stops)}")
        for at in (*stops, 4):
            experiment = Experiment.build(settings, stack)
            run = TrainingRun(experiment, folder, Silent())
            run.begin(resume=True)
            run.train(should_stop=lambda run=run, at=at: run.trainer.iteration == at)
        found.append(experiment.learner.state_dict()["backbone.linear.weight"])
    assert torch.equal(*found)
