"""The script beside an exported file: the same probabilities as `predict`, without the package."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli
from rounding import PROBABILITY

from l2l_omniglot.classify.companion import MARK, SOURCES, companion_path, write_companion
from l2l_omniglot.classify.export import export_classifier
from l2l_omniglot.classify.predictor import adapt_to_pictures, predict
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data import REDRAWS
from l2l_omniglot.data.picture_folders import read_queries, read_support
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.weights import best_pretrained, load_pretrained_checkpoint
from tools.photographs import drawings, photograph

EXAMPLES = Path(__file__).parents[2] / "examples/pictures"
# New processes, in which neither the package nor what it needs beside the runner can be imported.
BLOCKED = """
import sys
for name in {blocked}:
    sys.modules[name] = None
import numpy as np
import {module} as script
"""
PREPARE = (
    BLOCKED
    + """
import importlib
for redraw in {redraws}:
    script = importlib.import_module(f"{{redraw}}_pictures")
    np.save(f"{{redraw}}.npy", [script.image(path) for path in sys.argv[1:]])
"""
)
CLASSIFY = (
    BLOCKED
    + """
names, rows = script.classify([script.image(path) for path in sys.argv[1:]])
np.save("rows.npy", rows)
print(*names)
"""
)


def run_blocked(code: str, script: Path, files: list[Path], *blocked: str) -> str:
    names = ["l2l_omniglot", "learn2learn", *blocked]
    text = code.format(blocked=names, module=script.stem, redraws=REDRAWS)
    return subprocess.run(
        [sys.executable, "-c", text, *map(str, files)], cwd=script.parent, check=True,
        timeout=300, capture_output=True, text=True,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Support pictures and queries of 3 classes: on ruled paper, in shade, in chalk."""
    root = tmp_path_factory.mktemp("photos")
    for label, few in enumerate(drawings("development", 3, 3)):
        for number, drawing in enumerate(few):
            part = "support" if number < 2 else "query"
            path = root / part / f"class{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            photograph(("ruled", "shade", "chalk")[number], drawing, label).save(path)
    return root


@pytest.mark.slow  # a process each
@pytest.mark.parametrize("folder", ["examples", "photos"])
def test_they_prepare_pictures_as_predict_does(photos: Path, tmp_path: Path, folder: str):
    root = photos if folder == "photos" else EXAMPLES
    support = read_support(root / "support")
    checkpoint = load_pretrained_checkpoint(best_pretrained())
    preparations = {redraw: Preparation.of(checkpoint, redraw) for redraw in REDRAWS}
    for redraw, preparation in preparations.items():
        script = write_companion(tmp_path / f"{redraw}.onnx", preparation, "auto")
    run_blocked(PREPARE, script, support.files, "torch", "onnxruntime")
    for redraw, preparation in preparations.items():
        expected = preparation.images(support.pictures)
        np.testing.assert_array_equal(np.load(tmp_path / f"{redraw}.npy"), expected)


@pytest.mark.slow  # exporting takes seconds
@pytest.mark.parametrize(("ending", "blocked"), [(".onnx", ["torch"]), (".pt2", ["onnxruntime"])])
def test_it_gives_what_predict_gives(photos: Path, tmp_path: Path, ending: str, blocked: list[str]):
    support = read_support(photos / "support")
    queries = read_queries([photos / "query"], support.names)
    checkpoint = load_pretrained_checkpoint(best_pretrained())
    classifier, preparation = adapt_to_pictures(checkpoint, support)
    assert all(drawing.is_redrawn(preparation.redraw) for drawing in support.pictures)
    path = tmp_path / f"letters{ending}"
    export_classifier(classifier, path, support.names, ink=checkpoint.settings.ink)
    script = write_companion(path, preparation, "auto")
    entries = predict(checkpoint, support, queries).entries
    names = run_blocked(CLASSIFY, script, [each.file for each in entries], *blocked)
    assert names.split() == support.names
    expected = [list(each.probabilities.values()) for each in entries]  # in the classes' order
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected, atol=PROBABILITY, rtol=0)


@pytest.mark.slow
def test_the_command_writes_it_and_it_classifies_by_itself(tmp_path: Path):
    done = run_cli("export", str(EXAMPLES / "support"), "--out", "signs.onnx")
    assert "signs_pictures.py: prepares pictures for it, and classifies them." in done.stdout
    paths = sorted(map(str, (EXAMPLES / "query/wave").glob("*.png")))
    found = subprocess.run(  # as a person without the package runs it
        [sys.executable, "signs_pictures.py", *paths], capture_output=True, text=True,
        timeout=300, check=True,
    )  # fmt: skip
    assert [line.split()[:2] for line in found.stdout.splitlines()] == [[p, "wave"] for p in paths]
    Path("no.png").write_text("no picture")
    refused = subprocess.run(
        [sys.executable, "signs_pictures.py", "no.png", paths[0]], capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (1, found.stdout.splitlines(True)[0])
    assert refused.stderr.startswith("Error: no.png: not a readable picture: ")
    Path("signs.onnx").rename("moved.onnx")
    lost = subprocess.run(
        [sys.executable, "signs_pictures.py", paths[0]], capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert (lost.returncode, lost.stdout) == (1, "")
    assert lost.stderr.endswith("signs.onnx: no such file; expected the exported one beside this\n")
    assert lost.stderr.count("\n") == 1


def test_a_name_means_the_same_in_all_sources():
    """All become one module."""
    for first, second in combinations(SOURCES, 2):
        for name in vars(first).keys() & vars(second).keys():
            one, other = getattr(first, name), getattr(second, name)
            if not name.startswith("__"):
                assert one == other, name


def test_a_file_of_somebody_elses_is_not_replaced(tmp_path: Path):
    path, preparation = tmp_path / "a.onnx", Preparation("auto", 28, 1, "white")
    script = write_companion(path, preparation, "auto")
    assert MARK in script.read_text() and companion_path(path) == script
    assert write_companion(path, preparation, "dark") == script
    assert "PICTURE_INK = 'dark'" in script.read_text()
    script.write_text("print('mine')")
    with pytest.raises(SettingsError, match=r"a_pictures\.py: would be replaced by the script"):
        write_companion(path, preparation, "auto")
    assert script.read_text() == "print('mine')"
