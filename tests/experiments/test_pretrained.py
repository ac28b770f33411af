"""Weights and their cards: those that come along, what is refused, and which are the best."""

import dataclasses
import json
import math
import re
import subprocess
from datetime import date
from pathlib import Path

import pytest
import torch
import yaml
from conftest import run_cli
from tiny import Silent

from l2l_omniglot import load_pretrained
from l2l_omniglot._util.files import sha256
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments import weights
from l2l_omniglot.experiments.card import CONFIG, MODEL, README, Card, Result, read_card
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.experiments.weights import (
    FOLDER,
    any_ways_names,
    best_pretrained,
    find_weights,
    history,
    list_pretrained,
    load_pretrained_checkpoint,
)
from tools import card as cards_tool
from tools.model_card import metadata, model_card
from tools.ship import ship

CARDS = list_pretrained()
NAMES = [card.name for card in CARDS]
DAY = date(2026, 1, 1)


@pytest.fixture
def run(tmp_path: Path, stack: ImageStack) -> RunFolder:
    """A run of two iterations; what trained it is called Omniglot."""
    settings = make_settings(
        backbone="fc", algorithm="protonet", ways=3, iterations=2, validation_every=1,
        validation_tasks=2, meta_batch_size=1, start_from="",
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run")
    training = TrainingRun(Experiment.build(settings, stack), folder, Silent())
    training.begin(resume=False)
    training.train()
    return folder


@pytest.fixture
def folder(tmp_path: Path, run: RunFolder) -> Path:
    """Weights that were shipped from it, with card and README."""
    ship(run, "fc", "a machine", half=True, last=True, eval_steps=2, folder=tmp_path / "weights")
    return tmp_path / "weights"


def printed(card: Card, **changes: object) -> str:
    """What `evaluate --json` could have printed of them."""
    body = {
        "ways": 5, "shots": 1, "queries": 15, "steps": 2, "protocol": "ours", "split": "tutorial",
        "tasks": 10, "seed": 0, "part": "test", "data": "omniglot", "within_alphabet": False,
        "rotated_tests": "none", "weights": "fc", "weights_sha256": card.sha256,
        "inductive": {"accuracy": 0.5, "ci95": 0.01},
    }  # fmt: skip
    return json.dumps(body | changes)


def test_a_run_becomes_a_folder_to_be_published(run: RunFolder, folder: Path):
    card, checkpoint = read_card(folder / "fc" / CONFIG), load_checkpoint(folder / "fc" / MODEL)
    assert {path.name for path in (folder / "fc").iterdir()} == {MODEL, CONFIG, README}
    assert all(weight.dtype == torch.float16 for weight in checkpoint.weights.values())
    assert card.trained == checkpoint.settings and card.trained.eval_steps == 2
    assert card.trained == dataclasses.replace(run.read_settings(), eval_steps=2)
    assert card.validation == run.read_metrics()[-1].validation_accuracy
    assert (card.iteration, card.results, card.machine[:9]) == (2, [], "a machine")
    assert "data_name" not in checkpoint.facts and checkpoint.optimizer == {}
    with pytest.raises(SystemExit, match="exists already"):
        ship(run, "fc", "a machine", folder=folder)
    ship(run, "fc", "another", replace=True, folder=folder)
    assert read_card(folder / "fc" / CONFIG).machine.startswith("another")


def test_a_folder_copied_elsewhere_is_weights_too(folder: Path):
    card = read_card(folder / "fc" / CONFIG)
    found = find_weights(str(folder / "fc"))
    assert found.settings == card.trained
    past = history(str(folder / "fc"), found)
    assert (past.kind, past.name, past.commands) == ("pretrained", "fc", tuple(card.commands))
    (folder / "fc" / CONFIG).unlink()
    assert history(str(folder / "fc"), found).kind == "checkpoint"


def test_what_evaluate_prints_becomes_a_result_of_these_weights_only(folder: Path):
    card = read_card(folder / "fc" / CONFIG)
    cards_tool.add(printed(card), "a.json", DAY, folder)
    both = {"transductive": {"accuracy": 0.7, "ci95": 0.02}, "tasks": 20}
    cards_tool.add(printed(card, **both), "a.json", DAY, folder)  # instead of the first
    snell = {"protocol": "snell", "split": "vinyals", "rotated_tests": "classes"}
    cards_tool.add(printed(card, **snell), "a.json", DAY, folder)
    found = read_card(folder / "fc" / CONFIG)
    assert found.results == [
        Result(5, 1, 15, 2, "ours", "tutorial", "inductive", 20, 0.5, 0.01, "2026-01-01"),
        Result(5, 1, 15, 2, "ours", "tutorial", "transductive", 20, 0.7, 0.02, "2026-01-01"),
        Result(5, 1, 15, 2, "snell", "vinyals", "inductive", 10, 0.5, 0.01, "2026-01-01"),
    ]
    assert (folder / "fc" / README).read_text(encoding="utf-8") == model_card(found)
    runs = {"protocol": "lake", "steps": 2, "weights_sha256": card.sha256}
    error = {"error": 0.05, "ci95": 0.02, "error_per_run": {"run01": 0.1, "run02": 0.0}}
    found = cards_tool.add(json.dumps(runs | {"inductive": error}), "a.json", DAY, folder)
    assert found.results[-1].accuracy == 0.95 and found.results[-1].tasks == 2
    for changes, said in (
        ({"weights_sha256": "0" * 64}, "a.json: is of weights with SHA-256 000.*those of fc"),
        ({"seed": 1}, "a.json: seed is 1; expected 0"),
        ({"part": "validation"}, "part is 'validation'; expected 'test'"),
        ({"steps": 1}, "steps is 1; expected 2"),
        ({"queries": 5}, "queries is 5; expected 15"),
        ({"rotated_tests": "each"}, "rotated_tests is 'each'; expected 'none'"),
    ):
        with pytest.raises(SystemExit, match=said):
            cards_tool.add(printed(card, **changes), "a.json", DAY, folder)
    with pytest.raises(SystemExit, match="is not what `evaluate --json` prints"):
        cards_tool.add("", "a.json", DAY, folder)
    assert read_card(folder / "fc" / CONFIG) == found


def test_what_a_card_lacks_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch):
    card, asked = read_card(folder / "fc" / CONFIG), []
    figures = {"accuracy": 0.5, "ci95": 0.01}
    both = {"transductive": figures, "inductive": figures}

    def evaluate(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        found = dict(zip(words[4::2], words[5::2], strict=False))
        ways, shots = int(found["--ways"]), int(found["--shots"])
        asked.append((ways, shots, found["--protocol"], found["--tasks"]))
        text = printed(card, ways=ways, shots=shots, **both)
        return subprocess.CompletedProcess(words, 6 if (ways, shots) == (20, 5) else 0, text)

    monkeypatch.setattr(cards_tool.subprocess, "run", evaluate)
    cards_tool.add(printed(card, **both), "a.json", DAY, folder)
    with pytest.raises(SystemExit, match=r"evaluate --weights fc --ways 20 .*: exit code 6"):
        cards_tool.measure(read_card(folder / "fc" / CONFIG), 10, folder=folder)
    assert asked == [(ways, shots, "ours", "10") for ways, shots in ((5, 5), (20, 1), (20, 5))]
    found = read_card(folder / "fc" / CONFIG)
    assert len(found.results) == 6  # what was measured before is kept


def test_evaluate_and_predict_take_as_many_steps_as_the_weights_say(folder: Path, npy: Path):
    card, where = read_card(folder / "fc" / CONFIG), str(folder / "fc")
    words = ("--data", str(npy), "--tasks", "2", "--queries", "2", "--json")
    done = run_cli("evaluate", "--weights", where, *words)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert (body["steps"], body["weights_sha256"]) == (2, card.sha256)
    images, labels = torch.rand(3, 1, 28, 28), torch.arange(3)
    assert Classifier(find_weights(where), images, labels, 3).steps == 2


def test_each_result_names_the_command_that_gives_it():
    result = Result(20, 5, 15, 0, "ours", "tutorial", "inductive", 1000, 0.9, 0.1, "2026-01-01")
    start = "l2l-omniglot evaluate --weights conv4 "
    assert result.command("conv4") == f"{start}--ways 20 --shots 5 --tasks 1000"
    other = dataclasses.replace(result, protocol="snell", batch_norm="transductive")
    assert other.command("conv4") == (
        f"{start}--ways 20 --shots 5 --protocol snell --batch-norm transductive --tasks 1000"
    )


def test_weights_that_fit_their_card_are_loaded(folder: Path):
    checkpoint = load_pretrained_checkpoint("fc", folder)
    assert checkpoint.settings.backbone == "fc"
    assert [card.name for card in list_pretrained(folder)] == ["fc"]


def test_what_does_not_fit_is_refused(folder: Path):
    path, card = folder / "fc" / MODEL, folder / "fc" / CONFIG
    good, text = path.read_bytes(), card.read_text()

    def refused(said: str) -> None:
        with pytest.raises(RunError, match=said):
            load_pretrained_checkpoint("fc", folder)
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
    card.write_text(json.dumps({**body, "iteration": 1}))
    refused("other settings than its card says")
    card.write_text(json.dumps({**body, "settings": {**body["settings"], "seed": 9}}))
    refused("other settings than its card says")
    with pytest.raises(RunError, match="'resnet': expected one of fc"):
        load_pretrained_checkpoint("resnet", folder)
    assert load_pretrained_checkpoint("fc", folder).iteration == 2


def test_the_package_lists_its_weights_in_80_columns():
    done = run_cli("pretrained")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    body = json.loads(run_cli("pretrained", "--json").stdout)
    assert body == json.loads(json.dumps([dataclasses.asdict(card) for card in CARDS]))
    rows = [line.split() for line in done.stdout.splitlines()]
    for card in CARDS:
        for result in card.results:
            figure = f"{100 * result.accuracy:.2f}"
            assert any(row[:1] == [card.name] and figure in row for row in rows)
    assert f"for any number of classes: {best_pretrained()}\n" in done.stdout


def test_the_best_are_those_of_the_best_validation_on_the_default_split(monkeypatch):
    card = next(card for card in CARDS if card.name == best_pretrained())
    assert all(
        card.validation >= other.validation
        for other in CARDS
        if other.validation is not None
        and [getattr(other.trained, name) for name in ("any_ways", "split", "ways")]
        == [True, "tutorial", 20]
    )

    def choice(*others: Card) -> str:
        monkeypatch.setattr(weights, "list_pretrained", lambda: [card, *others])
        return best_pretrained()

    def other(validation: float | None, **changes: object) -> Card:
        settings = card.settings | changes
        return dataclasses.replace(card, name="x", validation=validation, settings=settings)

    assert choice(other(0.999)) == "x"
    no_figures = dataclasses.replace(other(0.5), results=[])
    for unlike in (
        other(None), other(0.999, split="random"), other(0.999, ways=5), no_figures,
        other(0.999, head="trained"), other(0.999, validation_classes=20),
    ):  # fmt: skip
        assert choice(unlike) == card.name
    monkeypatch.setattr(weights, "list_pretrained", list)
    with pytest.raises(RunError, match="no pretrained weights; expected a run"):
        best_pretrained()


def test_all_of_them_are_small_and_of_no_machine():
    assert any_ways_names()
    assert {path.name for path in FOLDER.iterdir()} == set(NAMES)
    for card in CARDS:
        folder = FOLDER / card.name
        assert {path.name for path in folder.iterdir()} == {MODEL, CONFIG, README}
        assert (folder / MODEL).stat().st_size < 2_000_000
        facts = load_checkpoint(folder / MODEL).facts
        told = json.dumps([facts, dataclasses.asdict(card)])
        assert not re.search(r"(?<![\w.-])[/~]", told), f"an absolute path in {told}"


@pytest.mark.parametrize("card", CARDS, ids=NAMES)
def test_each_readme_is_made_from_its_card_and_is_a_model_card(card: Card):
    text = (FOLDER / card.name / README).read_text(encoding="utf-8")
    assert text == model_card(card)  # python -m tools.card
    _, front, body = text.split("---\n", 2)
    found = yaml.safe_load(front)
    assert found == metadata(card)
    assert (found["license"], found["library_name"]) == ("mit", "l2l-omniglot")
    (model,) = found["model-index"]
    for entry, result in zip(model["results"], card.results, strict=True):
        assert entry["task"]["type"] == "image-classification"
        assert {"type", "name"} <= entry["dataset"].keys()
        (metric,) = entry["metrics"]
        assert (metric["type"], metric["value"]) == ("accuracy", round(result.accuracy, 5))
        assert f"{100 * result.accuracy:.2f} ± {100 * result.ci95:.2f} %" in body


@pytest.mark.parametrize("card", CARDS, ids=NAMES)
def test_each_loads_adapts_and_is_what_its_card_says(card: Card):
    learner, settings = load_pretrained(card.name), card.trained
    images = torch.rand(settings.ways, 1, 28, 28)
    for adapted in learner.adapt(images, torch.arange(settings.ways), 1):
        assert adapted(images).shape == (settings.ways, settings.ways)
    for result in card.results:
        assert result.setting in card.cells and result.steps == settings.eval_steps
        assert result.tasks >= 10 if result.protocol == "lake" else result.tasks >= 600
        if result.protocol == "ours":
            assert result.split == settings.split and result.tasks >= 1000


@pytest.mark.real
@pytest.mark.parametrize("card", CARDS, ids=NAMES)
def test_each_reaches_what_its_card_says(card: Card, real_npy: Path):
    """On some of the tasks of its first setting, by our protocol.

    How much tasks differ the many of the card tell better than these few.
    """
    ours = [result for result in card.results if result.protocol == "ours"]
    if not ours:
        pytest.skip(f"{card.name} has no result under our protocol")
    first = ours[0]
    tasks = 40 if first.ways == 5 else 20
    done = run_cli(
        "evaluate", "--weights", card.name, "--tasks", str(tasks), "--data", str(real_npy),
        "--ways", str(first.ways), "--shots", str(first.shots), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["weights_sha256"] == card.sha256 == sha256(FOLDER / card.name / MODEL)
    for reached in [result for result in ours if result.setting == first.setting]:
        expected = pytest.approx(
            reached.accuracy, abs=1.5 * reached.ci95 * math.sqrt(reached.tasks / tasks)
        )
        assert body[reached.batch_norm]["accuracy"] == expected
