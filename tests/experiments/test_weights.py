"""Learners from weights: the same ways, other ways, and what is refused."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tiny import Silent

from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.learners import (
    build_learner,
    load_learner,
    load_resized,
    read_backbone,
    read_weights,
)
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.learner import Learner

SHORT = {
    "iterations": 2,
    "meta_batch_size": 1,
    "validation_every": 2,
    "validation_tasks": 2,
    "data": "synthetic",
}


@pytest.fixture
def trained(stack: ImageStack, tmp_path: Path) -> Path:
    """A run of two iterations, 3-way, Meta-SGD."""
    settings = make_settings(ways=3, algorithm="meta-sgd", head="trained", **SHORT)
    run = TrainingRun(Experiment.build(settings, stack), RunFolder(tmp_path / "a"), Silent())
    run.begin(resume=False)
    run.train()
    return tmp_path / "a"


def test_as_many_ways_are_loaded_as_they_are(trained: Path):
    checkpoint = find_weights(trained)
    resized = build_learner(checkpoint.settings)
    load_resized(resized, checkpoint)
    for learner in (load_learner(str(trained)), load_learner(checkpoint, 3), resized):
        for name, weight in read_weights(learner.backbone).items():
            assert torch.equal(weight, checkpoint.weights[name])
        for name, rate in read_weights(learner.rates).items():
            assert torch.equal(rate, checkpoint.rates[name])


def test_a_loaded_checkpoint_is_never_changed(trained: Path, stack: ImageStack):
    checkpoint = find_weights(trained)
    before = copy.deepcopy(checkpoint)
    with pytest.raises(dataclasses.FrozenInstanceError):
        checkpoint.settings = make_settings()  # type: ignore[misc]
    assert Experiment.load(checkpoint, stack).settings == checkpoint.settings
    experiment = Experiment.load(checkpoint, stack, data="own.npy")
    assert experiment.settings == dataclasses.replace(checkpoint.settings, data="own.npy")
    experiment.trainer().step()
    for name, weight in before.weights.items():
        assert torch.equal(checkpoint.weights[name], weight)
    assert dataclasses.replace(checkpoint, weights={}, rates={}) == dataclasses.replace(
        before, weights={}, rates={}
    )
    assert not torch.equal(
        experiment.learner.backbone.linear.weight, checkpoint.weights["linear.weight"]
    )


@pytest.mark.parametrize("ways", [2, 7])
def test_a_training_for_other_ways_starts_with_the_mean_row(trained: Path, ways: int):
    checkpoint = find_weights(trained)
    learner = build_learner(dataclasses.replace(checkpoint.settings, ways=ways))
    load_resized(learner, checkpoint)
    rows = checkpoint.weights["linear.weight"]
    assert not torch.equal(rows[0], rows[1])
    for row in learner.backbone.linear.weight:
        torch.testing.assert_close(row, rows.mean(dim=0))
    assert torch.equal(
        learner.backbone.block2.conv.weight, checkpoint.weights["block2.conv.weight"]
    )
    assert learner.backbone(torch.rand(4, 1, 28, 28)).shape == (4, ways)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_training_with_other_steps_takes_the_first_and_repeats_the_last(steps: int):
    def build(inner_steps: int) -> Learner:
        return build_learner(
            make_settings(
                backbone="cnn4",
                algorithm="maml++",
                norm_weights="per-step",
                inner_steps=inner_steps,
            )
        )

    trained, learner = build(2), build(steps)
    with torch.no_grad():
        for value in [*trained.rates.parameters(), *trained.norms.parameters()]:
            value.copy_(torch.rand_like(value))
    settings = make_settings(backbone="cnn4", algorithm="maml++", inner_steps=2)
    parts = {name: read_weights(getattr(trained, name)) for name in ("rates", "head", "norms")}
    load_resized(learner, Checkpoint(settings, 0, read_backbone(trained), **parts))
    for step in range(steps):
        expected = trained.rates.rates[:, min(step, 1)]
        assert torch.equal(learner.rates.rates[:, step], expected)
    for step in range(steps + 1):
        for name, value in learner.norms.at(step, 1).items():
            assert torch.equal(value, trained.norms.at(min(step, 2), 1)[name])


@pytest.mark.parametrize("ways", [2, 7])
def test_a_trained_head_refuses_other_ways(trained: Path, ways: int, stack: ImageStack):
    message = rf"{ways} ways: .* trained for 3 ways; expected 3, or weights for any number: .*conv4"
    with pytest.raises(SettingsError, match=message):
        load_learner(str(trained), ways)
    with pytest.raises(SettingsError, match=message):
        Experiment.load(str(trained), stack, ways=ways)
    assert load_learner("conv4", ways).backbone(torch.rand(4, 1, 28, 28)).shape == (4, ways)


def test_with_a_computed_head_rates_fit_any_ways():
    for rates in ("parameter", "layer-step"):
        assert make_settings(head="zero", inner_rates=rates).any_ways
        assert not make_settings(head="trained", inner_rates=rates).any_ways


def test_training_starts_from_them_and_resumes_without(stack: ImageStack, tmp_path: Path, trained):
    settings = make_settings(ways=5, start_from=str(trained), **SHORT)
    run = TrainingRun(Experiment.build(settings, stack), RunFolder(tmp_path / "b"), Silent())
    run.begin(resume=False)
    expected = find_weights(trained).weights["block1.conv.weight"]
    assert torch.equal(run.experiment.learner.backbone.block1.conv.weight, expected)
    assert len(json.loads(run.folder.config.read_text())["facts"]["start_sha256"]) == 64
    run.train()
    ended = read_weights(run.experiment.learner.backbone)
    for file in trained.iterdir():
        file.unlink()
    again = TrainingRun(Experiment.build(settings, stack), RunFolder(tmp_path / "b"), Silent())
    again.begin(resume=True)
    for name, weight in read_weights(again.experiment.learner.backbone).items():
        assert torch.equal(weight, ended[name])


def test_weights_that_have_seen_the_test_classes_are_refused(stack: ImageStack, tmp_path, trained):
    settings = make_settings(ways=5, start_from=str(trained), split="random", **SHORT)
    run = TrainingRun(Experiment.build(settings, stack), RunFolder(tmp_path / "b"), Silent())
    own = r"its own, split=tutorial, validation_classes=\d+, test_classes=\d+$"
    message = rf"trained on \d+ of the validation or test classes here; .* {own}"
    with pytest.raises(SettingsError, match=message):
        run.begin(resume=False)
    assert not (tmp_path / "b").exists()


def test_what_is_not_there_or_does_not_fit_is_one_sentence(trained: Path, tmp_path: Path):
    with pytest.raises(RunError, match="nothing: no such run.*conv4"):
        find_weights("nothing")
    with pytest.raises(RunError, match="do not fit the backbone"):
        load_resized(build_learner(make_settings(backbone="cnn4")), find_weights(trained))
    assert find_weights("conv4").settings.ways == 20


def test_one_function_decides_which_weights_are_meant(trained: Path, monkeypatch):
    best, last = (str(trained / f"{name}.safetensors") for name in ("best", "last"))
    assert find_weights(trained).source == find_weights(str(trained)).source == best
    assert find_weights(Path(last)).source == last
    monkeypatch.setenv("L2L_OMNIGLOT_RUNS", str(trained.parent))
    assert find_weights().source == best  # the newest run's
    Path(best).unlink()
    assert find_weights().source == last


def test_a_name_that_is_a_path_here_too_is_refused(trained: Path):
    name = "conv4"
    Path(name).symlink_to(trained)
    with pytest.raises(RunError, match=f"^{name}: .*; expected ./{name} for the path$"):
        find_weights(name)
    for path in (f"./{name}", Path(name)):
        assert find_weights(path).settings.ways == 3


def test_a_default_is_a_name_even_where_a_path_has_it_too(tmp_path: Path):
    (tmp_path / "conv4").mkdir()
    assert find_weights(None, "conv4").settings.backbone == "conv4"
    with pytest.raises(RunError, match=r"expected \./conv4 for the path"):
        find_weights("conv4")
