"""What a run survives: a damaged checkpoint, a bad update, a second process in its folder."""

import math
from pathlib import Path

import pytest
import torch
from conftest import run_cli
from processes import start_cli
from tiny import Silent

from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import RunError, TrainingError
from l2l_omniglot.experiments import training
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.meta.trainer import StepResult, Trainer

TRAIN = [
    "train", "--data", "synthetic", "--backbone", "fc", "--iterations", "100000", "--queries", "3",
    "--meta-batch-size", "2", "--validation-every", "20", "--validation-tasks", "2",
]  # fmt: skip


def make_run(stack: ImageStack, folder: Path, *watchers: Silent, **changed: int) -> TrainingRun:
    small = {
        "ways": 3, "queries": 4, "backbone": "fc", "meta_batch_size": 2, "validation_tasks": 3,
        "validation_every": 2, "iterations": 6, "schedule": "constant",
    }  # fmt: skip
    settings = make_settings(**{**small, **changed})
    return TrainingRun(Experiment.build(settings, stack), RunFolder(folder), *watchers)


def trained(run: TrainingRun, resume: bool = False) -> TrainingRun:
    run.begin(resume)
    run.train()
    return run


def assert_same_weights(one: Path, other: Path) -> None:
    found, expected = (load_checkpoint(run / "last.safetensors") for run in (one, other))
    assert found.iteration == expected.iteration
    for name, value in expected.weights.items():
        assert torch.equal(found.weights[name], value), name


# The last checkpoint, and the one before.
@pytest.mark.parametrize("injury", ["cut", "flipped", "empty", "deleted"])
def test_a_broken_newest_falls_back_to_the_one_before_and_says_so(
    stack: ImageStack, tmp_path: Path, caplog: pytest.LogCaptureFixture, injury: str
):
    whole = trained(make_run(stack, tmp_path / "whole"))
    run = trained(make_run(stack, tmp_path / "run", iterations=4))
    last = run.folder.last
    content = bytearray(last.read_bytes())
    if injury == "deleted":
        last.unlink()
    else:
        content[len(content) // 2] ^= 1  # of a weight
        last.write_bytes({"cut": content[:-50], "flipped": content, "empty": b""}[injury])
    caplog.set_level("INFO", "l2l_omniglot")
    again = make_run(stack, tmp_path / "run")
    again.begin(resume=True)
    assert again.trainer.iteration == 2
    assert "last.safetensors: " in caplog.text
    assert "Taking the checkpoint before, at iteration 2." in caplog.text
    again.train()
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    assert [row.iteration for row in again.folder.read_metrics()] == [
        row.iteration for row in whole.folder.read_metrics()
    ]


def test_two_broken_checkpoints_are_an_error(stack: ImageStack, tmp_path: Path):
    run = trained(make_run(stack, tmp_path / "run"))
    for path in (run.folder.last, run.folder.before):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"before-last\.safetensors: not a readable checkpoint"):
        make_run(stack, tmp_path / "run").begin(resume=True)


class Kept(Silent):
    """Notes which iteration the last checkpoint is of, after every update but the first."""

    def __init__(self, folder: Path) -> None:
        self.path, self.found = folder / "last.safetensors", []

    def on_step(self, result: StepResult) -> None:
        if self.path.exists():
            self.found.append((result.iteration, load_checkpoint(self.path).iteration))


def test_a_checkpoint_is_kept_at_least_every_five_minutes(
    stack: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert training.SECONDS == 300
    now = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])

    def step(trainer: Trainer, step=Trainer.step) -> StepResult:
        now[0] += 120.0
        return step(trainer)

    monkeypatch.setattr(Trainer, "step", step)
    watcher = Kept(tmp_path / "run")
    trained(make_run(stack, tmp_path / "run", watcher, validation_every=100, iterations=9))
    assert watcher.found == [(4, 3), (5, 3), (6, 3), (7, 6), (8, 6), (9, 6)]
    assert load_checkpoint(tmp_path / "run/before-last.safetensors").iteration == 6


# Bad updates.
def bad_at(monkeypatch: pytest.MonkeyPatch, *bad: int) -> None:
    """Makes the loss of the second task of these updates NaN, counted from 0."""

    def compute(trainer: Trainer, key, compute=Trainer._compute_gradient):
        losses, accuracies = compute(trainer, key)
        if trainer.iteration in bad:
            losses[1] = math.nan
        return losses, accuracies

    monkeypatch.setattr(Trainer, "_compute_gradient", compute)


def test_a_loss_that_is_not_finite_ends_the_run_and_loses_nothing(
    stack: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bad_at(monkeypatch, 4)
    with pytest.raises(TrainingError, match=r"meta-update 5: the loss of task 9 is not finite; "):
        trained(make_run(stack, tmp_path / "run", validation_every=100))
    checkpoint = load_checkpoint(tmp_path / "run/last.safetensors")
    assert checkpoint.iteration == 4
    assert all(value.isfinite().all() for value in checkpoint.weights.values())


def test_bad_updates_are_skipped_and_counted_up_to_a_number(
    stack: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    caplog.set_level("INFO", "l2l_omniglot")
    bad_at(monkeypatch, 1, 3, 5)
    with pytest.raises(
        TrainingError, match=r"meta-update 6: .*skipping more such updates \(now at most 2\)"
    ):
        trained(make_run(stack, tmp_path / "run", skip_bad_updates=2))
    note = "meta-update 2: the loss of task 3 is not finite; skipped, 1 of at most 2."
    assert note in caplog.text
    checkpoint = load_checkpoint(tmp_path / "run/last.safetensors")
    assert (checkpoint.iteration, checkpoint.facts["skipped_updates"]) == (5, 2)
    again = trained(make_run(stack, tmp_path / "run", skip_bad_updates=3), resume=True)
    assert (again.trainer.iteration, again.trainer.skipped) == (6, 3)


def test_a_skipped_update_changes_no_weight(
    stack: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = trained(make_run(stack, tmp_path / "run", iterations=2))
    bad_at(monkeypatch, 2)
    before = load_checkpoint(run.folder.last).weights
    trained(make_run(stack, tmp_path / "run", iterations=3, skip_bad_updates=1), resume=True)
    after = load_checkpoint(run.folder.last)
    assert after.iteration == 3
    assert all(torch.equal(after.weights[name], value) for name, value in before.items())


# Two processes in one folder.
def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path):
    """Real processes, because a lock is between them."""
    run = tmp_path / "run"
    one = start_cli(*TRAIN, "--run-dir", str(run))
    try:
        while not (run / "last.safetensors").exists():
            assert one.poll() is None
        config, begun = (run / "config.json").read_bytes(), set(run.iterdir())
        for words in (["train", "--resume", str(run)], [*TRAIN, "--run-dir", str(run)]):
            second = run_cli(*words)
            assert second.returncode == 6
            assert f"Error: {run}: another process trains this run now" in second.stderr
        # The first goes on to save; the second wrote nothing.
        assert one.poll() is None and (run / "config.json").read_bytes() == config
        saved = {"before-last.safetensors", "last.safetensors", "best.safetensors", "metrics.csv"}
        more = {path.name for path in set(run.iterdir()) - begun}
        assert {name for name in more if not name.startswith(".")} <= saved  # whole files
    finally:
        one.kill()
        one.communicate()
    assert load_checkpoint(run / "last.safetensors").iteration >= 20
    done = run_cli("train", "--resume", str(run), "--time-limit", "0.01")  # the lock went with it
    assert done.returncode == 0, done.stderr
