"""A run folder that version 0.1 wrote: what it recorded is what this version finds."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny import Silent

from l2l_omniglot.cli import cli
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.meta.evaluation import evaluate

DATA = Path(__file__).parents[1] / "data"
# What that version found, on 20 test tasks, after each step.
LOSSES = {
    "transductive": [0.759209, 0.693867, 0.668200, 0.647473, 0.629457, 0.609773],
    "inductive": [0.761524, 0.694905, 0.670118, 0.650367, 0.633892, 0.615414],
}
# At iteration 6, where that version went on from iteration 3.
RESUMED = {"train_loss": 0.688208, "validation_loss": 0.524315, "validation_accuracy": 0.75}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of it, of a backbone that a plugin brings."""
    monkeypatch.syspath_prepend(DATA / "plugin")
    shutil.copytree(DATA / "run-0.1", tmp_path / "run-0.1")
    return RunFolder(tmp_path / "run-0.1")


@pytest.mark.slow
def test_it_evaluates_as_it_did(run: RunFolder):
    experiment = Experiment.load(run.path, open_data(run.read_settings()))
    experiment.learner.backbone.double()  # it was in float32, whose rounding is in the last digit
    experiment.learner.rates.double()
    validated = evaluate(experiment.learner, experiment.tasks("validation"), 4, 5)
    (row,) = run.read_metrics()
    assert validated.accuracy == row.validation_accuracy
    assert validated.loss == pytest.approx(row.validation_loss, abs=1e-6)
    tasks = experiment.tasks("test", seed=0)
    found = evaluate(experiment.learner, tasks, 20, 5, batch_norm="both")
    for mode, losses in LOSSES.items():
        assert found.curves[mode].loss_per_step == pytest.approx(losses, abs=1e-6)


@pytest.mark.slow
def test_it_resumes_as_it_did(run: RunFolder):
    settings = dataclasses.replace(run.read_settings(), iterations=6)
    training = TrainingRun(Experiment.build(settings, open_data(settings)), run, Silent())
    training.begin(resume=True)
    assert training.trainer.iteration == 3
    assert training.train().iteration == 6
    assert len(run.read_sessions()) == 2
    row = run.read_metrics()[-1]
    assert row.iteration == 6
    for name, value in RESUMED.items():
        assert getattr(row, name) == pytest.approx(value, abs=1e-4)


@pytest.mark.slow
def test_it_is_reported_on(run: RunFolder):
    arguments = ["report", "--weights", str(run.path), "--tasks", "4"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    page = Path("report.html").read_text(encoding="utf-8")
    assert "run-0.1" in page and "--algorithm meta-sgd" in page
