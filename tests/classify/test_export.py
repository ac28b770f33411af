"""Exported classifiers give what the original gives: both formats, one image or many."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import run_cli
from PIL import Image
from rounding import rounding
from torch import nn

import l2l_omniglot.classify.export as module
from l2l_omniglot.backbones.batch_norm import (
    convert_norms,
    fold_statistics,
    record_moments,
)
from l2l_omniglot.backbones.passes import Moments
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.export import LARGEST, METADATA, export_classifier, load_exported
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.learners import read_weights
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.weights import load_pretrained_checkpoint, weights_name

pytestmark = pytest.mark.slow  # torch takes seconds to trace and to write a network

NAMES = ["alpha", "beta", "gamma"]
FORMATS = [".onnx", ".pt2"]
NETWORKS = ["basenet", "cnn4", "fc", "resnet8"]


def checkpoint_of(name: str) -> Checkpoint:
    """Random weights, at a rate that keeps logits small; for resnet8 those that come along."""
    if name == "resnet8":
        return load_pretrained_checkpoint(name)
    network = make_backbone(name, ways=len(NAMES))
    convert_norms(network)
    facts = {"channels": 1, "image_size": 28}
    settings = make_settings(backbone=name, ways=len(NAMES), head="trained", inner_lr=0.1)
    return Checkpoint(settings, 1, read_weights(network), facts=facts)


def classifier_of(name: str, stack: ImageStack, batch_norm: str = "inductive") -> Classifier:
    """3 classes of 2, 2 and 3 support images."""
    classes = [0, 0, 1, 1, 2, 2, 2]
    support = stack.images(classes, [0, 1, 0, 1, 0, 1, 2])
    steps = None if name == "resnet8" else 3
    return Classifier(
        checkpoint_of(name), support, torch.tensor(classes), 3, steps=steps, batch_norm=batch_norm
    )


@pytest.fixture(scope="module")
def classifiers(stack: ImageStack) -> dict[str, Classifier]:
    return {name: classifier_of(name, stack) for name in NETWORKS}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_classifies_as_the_original(
    classifiers: dict[str, Classifier], stack: ImageStack, tmp_path: Path, name: str, ending: str
):
    original = classifiers[name]
    exported = export_classifier(original, tmp_path / f"a{ending}", NAMES, ink="white")
    assert exported.difference <= LARGEST
    run, metadata = load_exported(exported.path)
    for count in (1, 2, 3, 50):
        images = stack.images([n % 3 for n in range(count)], [n % 20 for n in range(count)])
        expected = original.probabilities(images)
        atol = rounding(original.logits(images))
        assert atol < 1e-3
        torch.testing.assert_close(run(images), expected, atol=atol, rtol=0)
    assert expected.std() > 0.05  # classes are told apart
    assert metadata == exported.metadata
    assert metadata["classes"] == NAMES
    assert [metadata[k] for k in ("channels", "height", "width", "ink")] == [1, 28, 28, "white"]


@pytest.mark.parametrize("ending", FORMATS)
def test_an_image_has_one_answer_alone_and_in_company(
    classifiers: dict[str, Classifier], stack: ImageStack, tmp_path: Path, ending: str
):
    path = tmp_path / f"a{ending}"
    export_classifier(classifiers["basenet"], path, NAMES, ink="white")
    run, _ = load_exported(path)
    images = stack.images([5, 6, 7], [0, 0, 0])
    atol = rounding(classifiers["basenet"].logits(images))
    torch.testing.assert_close(run(images)[:1], run(images[:1]), atol=atol, rtol=0)


@pytest.mark.parametrize("ending", FORMATS)
def test_logits_and_earlier_steps(
    classifiers: dict[str, Classifier], stack: ImageStack, tmp_path: Path, ending: str
):
    original, images = classifiers["basenet"], stack.images([0, 1, 2, 9], [5, 5, 5, 5])
    for step in (0, 1):
        path = tmp_path / f"{step}{ending}"
        export_classifier(original, path, NAMES, ink="white", output="logits", step=step)
        logits = load_exported(path)[0](images)
        assert not torch.allclose(logits.sum(dim=1), torch.ones(4))
        expected = original.probabilities(images, step)
        atol = rounding(original.logits(images, step))
        torch.testing.assert_close(logits.softmax(dim=1), expected, atol=atol, rtol=0)


def test_the_onnx_file_is_whole_and_needs_nothing_of_ours(
    classifiers: dict[str, Classifier], stack: ImageStack, tmp_path: Path
):
    path = tmp_path / "a.onnx"
    export_classifier(classifiers["basenet"], path, NAMES, ink="white", about={"note": "x"})
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]  # no weights beside it
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == (
        "images",
        ["batch", 1, 28, 28],
        "tensor(float)",
    )
    assert made.shape == ["batch", 3]
    assert json.loads(session.get_modelmeta().custom_metadata_map[METADATA])["note"] == "x"
    images = stack.images([0, 1], [7, 7])
    np.save(tmp_path / "images.npy", images.numpy())
    code = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession('a.onnx', providers=['CPUExecutionProvider'])\n"
        "numpy.save('out.npy', session.run(None, {'images': numpy.load('images.npy')})[0])\n"
        "assert not {'torch', 'l2l_omniglot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    expected = classifiers["basenet"].probabilities(images).numpy()
    atol = rounding(classifiers["basenet"].logits(images))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=atol, rtol=0)


def test_the_classifier_is_left_as_it_was(stack: ImageStack, tmp_path: Path):
    original, images = classifier_of("basenet", stack), stack.images([0, 1], [9, 9])
    before = read_weights(original.network()), original.probabilities(images)
    export_classifier(original, tmp_path / "a.pt2", NAMES, ink="white")
    after = read_weights(original.network())
    assert set(before[0]) == set(after)
    assert all(torch.equal(before[0][name], after[name]) for name in after)
    assert torch.equal(before[1], original.probabilities(images))
    assert not original.network()._forward_pre_hooks


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_that_does_something_else_is_not_kept(
    classifiers: dict[str, Classifier],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
):
    def wrong(network: nn.Module, moments: Moments, support: torch.Tensor) -> nn.Module:
        folded = fold_statistics(network, moments, support)
        folded.linear.bias += torch.tensor([0.01, 0, 0])
        return folded

    monkeypatch.setattr(module, "fold_statistics", wrong)
    path = tmp_path / f"a{ending}"
    path.write_text("an older file")
    with pytest.raises(
        BackboneError, match=r"differs .* by up to 0\.0\d+; expected at most 0\.0001"
    ):
        export_classifier(classifiers["basenet"], path, NAMES, ink="white", output="logits")
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]


class Twice(nn.Module):
    """Uses one batch normalisation layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, track_running_stats=False)
        self.head = nn.Linear(784, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(torch.tanh(self.norm(images))).flatten(1))


class OwnLayer(nn.BatchNorm2d):
    """Normalises, and more."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return super().forward(batch) + 1


class OwnNormalisation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(784, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head((images - images.mean(dim=0)).flatten(1))


def test_what_cannot_be_folded_is_refused():
    own = nn.Sequential(OwnLayer(1, track_running_stats=False), nn.Flatten(), nn.Linear(784, 3))
    refused = {
        "'norm' is used 2 times in a forward pass": Twice(),
        "OwnLayer '0' does more than torch's": own,
        "images affect each other outside torch's": OwnNormalisation(),
    }
    for reason, network in refused.items():
        with pytest.raises(BackboneError, match=reason):
            images = torch.rand(6, 1, 28, 28)
            converted = convert_norms(network)
            fold_statistics(converted, record_moments(converted, images), images)


def test_a_network_that_cannot_be_traced_is_refused(
    classifiers: dict[str, Classifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Branches(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :3] * (2 if images.sum() > 1 else 1)

    monkeypatch.setattr(classifiers["fc"], "_networks", [Branches()])
    with pytest.raises(BackboneError, match="the network cannot be exported: "):
        export_classifier(classifiers["fc"], tmp_path / "a.pt2", NAMES, ink="white")
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_are_refused(
    classifiers: dict[str, Classifier],
    stack: ImageStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    good = classifiers["basenet"]
    with pytest.raises(SettingsError, match=r"the ending '\.h5': expected one of \.onnx, \.pt2"):
        export_classifier(good, tmp_path / "a.h5", NAMES, ink="white")
    with pytest.raises(SettingsError, match="class names alpha, beta: expected 3 different ones"):
        export_classifier(good, tmp_path / "a.pt2", NAMES[:2], ink="white")
    with pytest.raises(
        SettingsError, match="output='labels': expected one of probabilities, logits"
    ):
        export_classifier(good, tmp_path / "a.pt2", NAMES, ink="white", output="labels")
    with pytest.raises(SettingsError, match="a transductive classifier cannot be exported"):
        other = classifier_of("basenet", stack, "transductive")
        export_classifier(other, tmp_path / "a.pt2", NAMES, ink="white")
    monkeypatch.setitem(module.NEEDED, ".onnx", ("onnx", "no_such_package_anywhere"))
    with pytest.raises(SettingsError, match=r"needs no_such_.*'l2l-omniglot\[export\]'"):
        export_classifier(good, tmp_path / "a.onnx", NAMES, ink="white")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def support_folder(stack: ImageStack, tmp_path: Path) -> Path:
    """Drawings of 3 classes, as a person would have them: dark on white paper."""
    for label, name in enumerate(NAMES):
        folder = tmp_path / "letters" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(stack.images([label] * 2, [0, 1])):
            pixels = (255 * (1 - image[0].numpy())).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "letters"


def test_the_command_writes_a_file_that_classifies(
    support_folder: Path, stack: ImageStack, zero_head: Path, trained_head: Path
):
    options = ["--out", "a.onnx", "--redraw", "never", "--weights"]
    refused = run_cli("export", str(support_folder), *options, str(trained_head))
    assert refused.returncode == 2
    assert f"3 classes: {trained_head} has a head trained for 5 ways" in refused.stderr
    options += [str(zero_head), "--steps", "20"]
    done = run_cli("export", str(support_folder), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.onnx: probabilities of 3 classes (alpha, beta, gamma)\n")
    run, metadata = load_exported("a.onnx")
    assert metadata["classes"] == NAMES
    assert (metadata["weights"], metadata["steps"]) == (weights_name(str(zero_head)), 20)
    assert (metadata["ink"], metadata["redraw"]) == ("white", "never")
    images = stack.images([0, 1, 2], [0, 0, 0])
    assert run(images).argmax(dim=1).tolist() == [0, 1, 2]
