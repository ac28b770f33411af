import numpy as np
import pytest
import torch
from tiny import Silent
from torch import nn

from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.errors import BackboneError, RunError, SettingsError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import Settings, make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.meta.learner import Learner

SMALL = {
    "ways": 3, "queries": 4, "train_queries": 2, "backbone": "fc", "meta_batch_size": 2,
    "validation_tasks": 3, "validation_every": 3, "iterations": 6,
}  # fmt: skip


class StopAt:
    """Asks for a stop once, after so many updates."""

    def __init__(self, *after: int) -> None:
        self.after, self.count = after, 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count in self.after


@pytest.fixture
def experiment(stack: ImageStack) -> Experiment:
    return Experiment.build(make_settings(**SMALL), stack)


def test_parts_have_their_own_classes_sizes_and_rotations(experiment: Experiment):
    train, validation, test = (experiment.tasks(p) for p in ("train", "validation", "test"))
    splits = experiment.splits
    assert train.dataset.classes == splits.train
    assert validation.dataset.classes == splits.validation
    assert test.dataset.classes == splits.test
    assert [len(t.dataset) // len(t.dataset.classes) for t in (train, validation, test)] == [
        80,
        20,
        20,
    ]
    assert (train.queries, validation.queries, test.queries) == (2, 4, 4)
    assert len({train.name, validation.name, test.name}) == 3
    with pytest.raises(
        SettingsError, match="part='tset': expected one of test, validation, train, all"
    ):
        experiment.tasks("tset")


def test_initial_weights_depend_on_the_seed_only(stack: ImageStack):
    def first(seed: int) -> torch.Tensor:
        built = Experiment.build(make_settings(**{**SMALL, "seed": seed}), stack)
        return torch.cat([p.detach().flatten() for p in built.learner.backbone.parameters()])

    one = first(1)
    np.random.seed(5)
    torch.manual_seed(5)
    assert torch.equal(first(1), one)
    assert not torch.equal(first(2), one)


def test_a_stack_opened_otherwise_than_the_settings_say_is_refused(stack: ImageStack):
    with pytest.raises(SettingsError, match="opened with ink white; expected black"):
        Experiment.build(make_settings("tutorial"), stack)
    with pytest.raises(SettingsError, match="opened with background white; expected black"):
        Experiment.build(make_settings(background="black"), stack)


def run(stack: ImageStack, path, *stops: int, minutes: float | None = None, **changes):
    """A run in `path`, stopped after so many updates and resumed each time."""
    settings = make_settings(**{**SMALL, **changes})
    folder = RunFolder(path)
    folder.create(settings, {})
    for stop in (*stops, None):
        training = TrainingRun(Experiment.build(settings, stack), folder, Silent())
        training.restore()
        if stop is None:
            return folder, training.train(minutes)
        assert training.train(should_stop=StopAt(stop)).reason in {"stopped", "finished"}
    raise AssertionError


@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("stops", [(1,), (3,), (6,), (2, 2), (3, 3), (3, 1, 2)])
def test_wherever_a_run_stops_it_ends_as_one_never_stopped(
    stack, tmp_path, stops, often, monkeypatch
):
    if often:  # a line of metrics after every update
        monkeypatch.setattr("l2l_omniglot.experiments.metrics.LEAST_SECONDS", 0.0)
        monkeypatch.setattr("l2l_omniglot.experiments.metrics.LINES", float("inf"))
    straight, _ = run(stack, tmp_path / "straight")
    stopped, outcome = run(stack, tmp_path / "stopped", *stops)
    assert outcome.iteration == 6
    assert stopped.last.is_file() and stopped.best.is_file()
    for name in ("last", "best"):
        one, two = (
            Experiment.load(getattr(folder, name), stack).learner.backbone.state_dict()
            for folder in (straight, stopped)
        )
        assert all(torch.equal(one[key], two[key]) for key in one)
    rows = [
        [
            (row.iteration, row.validation_accuracy, row.validation_loss)
            for row in f.read_metrics()
            if row.validated
        ]
        for f in (straight, stopped)
    ]
    assert rows[0] == rows[1]
    assert [row[0] for row in rows[0]] == [3, 6]
    every = [row.iteration for row in stopped.read_metrics()]
    assert every == sorted({*every, *range(1, 6)} if often else {*every, 3, 6})


def test_fewer_iterations_than_were_made_are_refused(stack, tmp_path):
    folder, _ = run(stack, tmp_path / "run")
    settings = Settings(**{**folder.read_settings().to_dict(), "iterations": 4})
    training = TrainingRun(Experiment.build(settings, stack), folder, Silent())
    with pytest.raises(SettingsError, match=r"iterations=4: .* has made 6"):
        training.restore()


def test_an_experiment_is_loaded_by_whatever_names_weights(stack, tmp_path):
    folder, _ = run(stack, tmp_path / "run")
    for weights in (folder.best, str(folder.best), folder.path, load_checkpoint(folder.best)):
        assert Experiment.load(weights, stack).settings.ways == 3
    assert Experiment.load("conv4", stack).settings.ways == 20
    with pytest.raises(RunError, match="nowhere: no such run folder or checkpoint"):
        Experiment.load("nowhere", stack)


def test_networks_of_another_size_than_the_task_are_refused():
    task = Task(torch.rand(3, 4), torch.arange(3), torch.rand(6, 4), torch.arange(6) % 3, (0, 1, 2))
    for ways in (2, 9):
        learner = Learner(nn.Linear(4, ways), 0.1)
        for engine in (None, learner.choose(task).engine):
            with pytest.raises(BackboneError, match=f"has {ways} ways; the task has 3"):
                learner.score_steps(learner.batch([task]), 1, engine)
    with pytest.raises(BackboneError, match="Flatten has no parameter that can be trained"):
        Learner(nn.Flatten(), 0.1)
