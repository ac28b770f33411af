"""Weights and their cards: those that come along, and what is refused."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import run_cli

from l2l_omniglot import load_pretrained
from l2l_omniglot._util.files import sha256
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.weights import (
    FOLDER,
    Card,
    list_pretrained,
    load_pretrained_checkpoint,
)

CARDS = list_pretrained()


@pytest.fixture
def folder(tmp_path: Path, stack: ImageStack) -> Path:
    """Weights of a network that was hardly trained, with their card."""
    folder = tmp_path / "weights"
    folder.mkdir()
    experiment = Experiment.build(make_settings(backbone="fc", iterations=1), stack)
    trainer = experiment.trainer()
    trainer.step()
    path = folder / "fc-5w1s.safetensors"
    experiment.checkpoint(trainer, experiment.facts(), resumable=False).save(path)
    accuracy = {"accuracy": 0.5, "ci95": 0.01}
    Card(
        "fc-5w1s", experiment.settings.to_dict(), 1, 0.1,
        {"transductive": accuracy, "inductive": accuracy},
        10, "tutorial", "2026-01-01", ["l2l-omniglot train"], "a machine", sha256(path),
    ).save(folder)  # fmt: skip
    return folder


def test_weights_that_fit_their_card_are_loaded(folder: Path):
    checkpoint = load_pretrained_checkpoint("fc-5w1s", folder)
    assert checkpoint.settings.backbone == "fc"
    assert [card.name for card in list_pretrained(folder)] == ["fc-5w1s"]


def test_what_does_not_fit_is_refused(folder: Path):
    path, card = folder / "fc-5w1s.safetensors", folder / "fc-5w1s.json"
    good, text = path.read_bytes(), card.read_text()

    def refused(said: str) -> None:
        with pytest.raises(RunError, match=said):
            load_pretrained_checkpoint("fc-5w1s", folder)
        path.write_bytes(good)
        card.write_text(text)

    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # one bit
    refused("has SHA-256 .* it was changed")
    path.write_bytes(good[: len(good) // 2])
    refused("has SHA-256")
    path.unlink()
    refused("missing, though its card is there")
    card.write_text("{")
    refused("not a readable card")
    body = json.loads(text)
    card.write_text(json.dumps({**body, "iteration": 2}))
    refused("other settings than its card says")
    card.write_text(json.dumps({**body, "settings": {**body["settings"], "seed": 9}}))
    refused("other settings than its card says")
    with pytest.raises(RunError, match="'resnet-5w1s': expected one of fc-5w1s"):
        load_pretrained_checkpoint("resnet-5w1s", folder)
    assert load_pretrained_checkpoint("fc-5w1s", folder).iteration == 1


def test_the_package_lists_its_weights():
    done = run_cli("pretrained")
    assert done.returncode == 0
    cards = json.loads(run_cli("pretrained", "--json").stdout)
    assert [card["name"] for card in cards] == [card.name for card in CARDS]
    for card in CARDS:
        assert f"{card.name} " in done.stdout


def test_all_of_them_are_small_and_of_no_machine():
    files = list(FOLDER.glob("*"))
    assert CARDS
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert len(files) == 2 * len(CARDS)
    for card in CARDS:
        facts = load_checkpoint(FOLDER / f"{card.name}.safetensors").facts
        told = json.dumps([facts, dataclasses.asdict(card)])
        assert not re.search(r"(?<![\w.-])[/~]", told), f"an absolute path in {told}"


@pytest.mark.parametrize("name", [card.name for card in CARDS])
def test_each_loads_adapts_and_is_what_its_card_says(name: str, stack: ImageStack):
    card = next(card for card in CARDS if card.name == name)
    learner = load_pretrained(name)
    settings = make_settings(**card.settings)
    images = torch.rand(settings.ways, 1, 28, 28)
    for adapted in learner.adapt(images, torch.arange(settings.ways), 1):
        assert adapted(images).shape == (settings.ways, settings.ways)
    assert card.tasks >= 1000


@pytest.mark.real
@pytest.mark.parametrize("name", [card.name for card in CARDS])
def test_each_reaches_what_its_card_says(name: str, real_npy: Path):
    """On fewer tasks: the intervals must meet."""
    card = next(card for card in CARDS if card.name == name)
    tasks = "100" if "20w" not in name else "40"
    done = run_cli(
        "evaluate", "--weights", name, "--tasks", tasks, "--data", str(real_npy), "--json"
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    for mode, reached in card.accuracy.items():
        slack = 2 * body[mode]["ci95"] + reached["ci95"]
        assert abs(body[mode]["accuracy"] - reached["accuracy"]) <= slack
