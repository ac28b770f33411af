"""What `evaluate` refuses, and what it says where an answer is likely wrong."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_cli

from l2l_omniglot.cli.train import _conclude
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import Outcome
from l2l_omniglot.experiments.weights import find_weights


@pytest.mark.slow
def test_a_protocol_takes_a_stack_of_ones_own(raw_npy: Path):
    """Other images of the same classes: what the protocol needs is the classes."""
    own = ("evaluate", "--tasks", "2", "--data", str(raw_npy), "--protocol")
    done = run_cli(*own, "finn", "--weights", "resnet8-random")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Protocol finn: ") and "2 test tasks" in done.stdout
    seen = run_cli(*own, "maml++", "--weights", "conv4")
    assert (seen.returncode, seen.stdout) == (2, "")
    assert "conv4" in seen.stderr and "of the classes to test on" in seen.stderr
    assert "such as those of a run with --split maml++" in seen.stderr


@pytest.mark.slow
def test_other_images_of_the_classes_may_have_been_trained_on(raw_npy: Path):
    sizes = ("--tasks", "2", "--queries", "1")
    done = run_cli("evaluate", *sizes, "--data", str(raw_npy), "--weights", "conv4")
    assert done.returncode == 0 and "test classes may have been trained on" in done.stderr


def test_own_classes_can_all_be_tested_on_and_be_fewer_than_the_training_had(tmp_path: Path):
    """`resnet8` was trained by 60 ways, and on a split that leaves one of six classes for tests."""
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "own.npy", images)
    own = ("evaluate", "--data", str(tmp_path / "own.npy"), "--weights", "resnet8", "--tasks", "2")
    sizes = ("--ways", "5", "--shots", "1", "--queries", "3")
    done = run_cli(*own, *sizes, "--part", "all", "--baselines")
    assert done.returncode == 0, done.stderr
    assert "2 tasks of" in done.stdout and "(all classes, seed 0)" in done.stdout
    assert "class means, untrained features, inductive" in done.stdout
    few = run_cli(*own, *sizes)
    assert few.returncode == 3 and "5-way tasks need at least 5" in few.stderr


@pytest.mark.slow
def test_classes_that_the_weights_have_seen_are_no_test(raw_npy: Path):
    own = ("evaluate", "--data", str(raw_npy), "--weights", "conv4", "--tasks", "2")
    for given, remedy in (("--part", "all"), "part test, or other data"), (
        ("--split", "random"), "such as those of a run with --split random"
    ):  # fmt: skip
        seen = run_cli(*own, *given)
        assert (seen.returncode, seen.stdout) == (2, "")
        assert "of the classes to test on" in seen.stderr and remedy in seen.stderr
    drawn = run_cli(*own[:3], "--weights", "resnet8-random", "--split-seed", "1")
    assert drawn.returncode == 2 and "of the classes to test on" in drawn.stderr
    done = run_cli(*own, "--split", "tutorial", "--queries", "1")
    assert done.returncode == 0 and "2 test tasks" in done.stdout, done.stderr
    assert "trained on" not in done.stderr


def test_a_protocol_refuses_other_classes():
    done = run_cli("evaluate", "--protocol", "snell", "--data", "synthetic", "--weights", "conv4")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "Error: --protocol 'snell': 400 classes; expected Omniglot's 1623, with their names\n"
    )


def test_invented_characters_were_never_trained_on():
    done = run_cli("evaluate", "--tasks", "2", "--data", "synthetic", "--weights", "conv4")
    assert done.returncode == 0 and "trained on" not in done.stderr


def test_the_rate_of_the_steps_can_be_another_than_in_training(trained_head: Path):
    def losses(*rate: str) -> list[float]:
        own = ("--tasks", "2", "--data", "synthetic", "--weights", str(trained_head), "--json")
        done = run_cli("evaluate", *own, *rate)
        assert done.returncode == 0, done.stderr
        body = json.loads(done.stdout)
        assert body["inner_lr"] == (float(rate[1]) if rate else 0.4)
        return body["loss_per_step"]

    own, same, slow = losses(), losses("--inner-lr", "0.4"), losses("--inner-lr", "0.01")
    assert own == same
    assert slow[0] == own[0] and abs(slow[1] - slow[0]) < abs(own[1] - own[0])


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_rate_of_steps_that_were_never_trained_is_refused(command: str):
    done = run_cli(command, "--inner-lr", "0.1", "--weights", "conv4", "--data", "synthetic")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--inner-lr 0.1: the weights were trained without inner steps" in done.stderr


def test_weights_of_a_training_that_diverged_are_no_success(trained_head: Path, tmp_path: Path):
    found = find_weights(trained_head)
    weights = {name: torch.full_like(value, torch.nan) for name, value in found.weights.items()}
    path = tmp_path / "diverged.safetensors"
    dataclasses.replace(found, weights=weights).save(path)
    done = run_cli("evaluate", "--tasks", "2", "--data", "synthetic", "--weights", str(path))
    assert done.returncode == 7 and "2 test tasks" in done.stdout
    assert "the loss after 5 inner steps is not finite" in done.stderr


@pytest.mark.parametrize(("best", "said"), [(0.21, True), (0.45, False)])
def test_a_training_no_better_than_chance_says_so(
    best: float, said: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    with caplog.at_level("INFO", "l2l_omniglot"):
        _conclude(RunFolder(tmp_path), make_settings(), Outcome("finished", 2, best))
    assert ("hardly better than chance (20%)" in caplog.text) == said
