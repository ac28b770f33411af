"""Pictures as they are, in colour: trained on, predicted, exported, looked at."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import invoke
from PIL import Image

import l2l_omniglot as lo
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.data.class_folders import Looks, list_classes, prepare_classes
from l2l_omniglot.data.picture_folders import read_queries, read_support
from l2l_omniglot.data.stack import load_stack
from l2l_omniglot.experiments.weights import find_weights

pytestmark = pytest.mark.slow
CLASSES, EACH, SIDE = 12, 6, 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures in ``set``, wider than high, and a run trained on them."""
    folder, random = tmp_path_factory.mktemp("colour"), np.random.default_rng(0)
    for number in range(CLASSES):
        cells = random.integers(0, 256, (4, 6, 3))
        for item in range(EACH):
            noisy = (cells + random.integers(-30, 30, cells.shape)).clip(0, 255).astype(np.uint8)
            path = folder / "set" / f"{number:02}" / f"{item}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy).resize((48, 32), Image.Resampling.NEAREST).save(path)
    prepare_classes(list_classes(folder / "set"), folder / "own.npy", Looks(SIDE, colour=True))
    done = invoke(
        "train", "--data", str(folder / "own.npy"), "--ways", "2", "--queries", "3", "--backbone",
        "fc", "--head", "zero", "--iterations", "4", "--validation-every", "4",
        "--validation-tasks", "4", "--no-rotations", "--run-dir", str(folder / "run"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number in range(CLASSES - 3, CLASSES):
        for part, items in (("support", range(2)), ("query", range(2, EACH))):
            (folder / part / f"{number:02}").mkdir(parents=True)
            for item in items:
                name = f"{number:02}/{item}.png"
                shutil.copy(folder / "set" / name, folder / part / name)
    return folder


def test_predict_sees_what_was_trained_on(trained: Path):
    checkpoint, stack = find_weights(trained / "run"), load_stack(trained / "own.npy")
    assert checkpoint.pictures == "images"
    support = read_support(trained / "support", kind="images")
    queries = read_queries([trained / "query"], support.names, kind="images")
    found = predict(checkpoint, support, queries)
    assert found.correct == found.known == 12 and not found.prepared
    for look, file in zip(found.query_looks, queries.files, strict=True):
        image = 1 - stack.images([int(file.parent.name)], [int(file.stem)])[0]
        expected = (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(look.seen, expected)


def test_the_commands_see_it_too(trained: Path):
    weights = ("--weights", str(trained / "run"))
    folders = str(trained / "support"), str(trained / "query")
    done = invoke("predict", *folders, *weights, "--show", "seen.png")
    assert done.returncode == 0 and "12 of 12 correct" in done.stdout, done.stderr
    shown = np.asarray(Image.open("seen.png").convert("RGB")).astype(int)
    assert (np.ptp(shown, axis=2) > 60).mean() > 0.02  # coloured pixels
    done = invoke("export", folders[0], *weights, "--out", "own.pt2")
    assert done.returncode == 0, done.stderr
    queries = [str(trained / "query" / f"{name}/3.png") for name in ("09", "10", "11")]
    found = subprocess.run(  # as a person without the package runs it
        [sys.executable, "own_pictures.py", *queries], capture_output=True, text=True, check=False
    )
    assert [line.split()[1] for line in found.stdout.splitlines()] == ["09", "10", "11"], (
        found.stderr
    )
    done = invoke("draw", *weights, "--no-browser", "--port", "0")
    assert done.returncode == 2 and "expected square images of 1 channel" in done.stderr
    done = invoke("report", *weights, "--tasks", "2")
    assert done.returncode == 0, done.stderr


def test_the_estimator_sees_it_too(trained: Path):
    files = sorted((trained / "support").rglob("*.png"))
    names = [file.parent.name for file in files]
    judge = lo.FewShotClassifier(trained / "run").fit(files, names)
    queries = sorted((trained / "query").rglob("*.png"))
    assert judge.score(queries, [file.parent.name for file in queries]) == 1
    arrays = np.stack([np.asarray(Image.open(file)) for file in queries])
    np.testing.assert_array_equal(judge.predict_proba(arrays), judge.predict_proba(queries))


def test_a_folder_is_trained_on_directly_and_prepared_once(trained: Path):
    words = (
        "train", "--data", str(trained / "set"), "--ways", "2", "--queries", "3", "--backbone",
        "fc", "--iterations", "2", "--validation-every", "2", "--validation-tasks", "2",
    )  # fmt: skip
    first, second = invoke(*words), invoke(*words)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "grey, 28 pixels a side, as " in first.stderr and "Preparing" not in second.stderr
    done = invoke("evaluate", "--tasks", "2")
    assert done.returncode == 0 and "%" in done.stdout, done.stderr
