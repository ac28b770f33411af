import csv
import json
from pathlib import Path

import pytest
from conftest import run_cli
from PIL import Image

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.reproduce import Cell, grid

SMALL = (
    "reproduce", "--settings", "5w1s", "--backbones", "fc", "--algorithms", "maml,anil",
    "--data", "synthetic", "--iterations", "2", "--tasks", "3", "--out", "grid",
)  # fmt: skip


def test_a_grid_is_trained_evaluated_and_written_down():
    done = run_cli(*SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == Path("grid/results.md").read_text().rstrip("\n")
    assert "| 5w1s | fc | anil | 2 of 2 |" in done.stdout
    results = json.loads(Path("grid/results.json").read_text())
    assert [result["algorithm"] for result in results] == ["maml", "anil"]
    for result in results:
        assert (result["tasks"], result["iteration"], result["published"]) == (3, 2, None)
        for mode in ("transductive", "inductive"):
            assert len(result[mode]["accuracy_per_step"]) == result["steps"] + 1
    with Path("grid/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == ["maml", "anil"]
    for row, result in zip(rows, results, strict=True):
        last = result["inductive"]["accuracy_per_step"][-1]
        assert float(row["inductive_accuracy"]) == last
    with Image.open("grid/steps.png") as image:
        assert image.size[0] > 800 and len(image.convert("RGB").getcolors(10**6)) > 10

    weights = Path("grid/5w1s-fc-anil/last.safetensors").read_bytes()
    again = run_cli(*SMALL)  # nothing is left to train
    assert again.returncode == 0, again.stderr
    assert Path("grid/5w1s-fc-anil/last.safetensors").read_bytes() == weights
    assert (
        json.loads(Path("grid/results.json").read_text())[0]["transductive"]
        == (results[0]["transductive"])
    )

    other = run_cli(*SMALL, "--seed", "1")
    assert other.returncode == 6
    assert "holds a run with other settings" in other.stderr


def test_a_budget_stops_each_cell_and_the_same_command_goes_on():
    arguments = [word.replace("2", "1000000") if word == "2" else word for word in SMALL]
    first = run_cli(*arguments, "--budget", "0.04")
    assert first.returncode == 0, first.stderr
    iterations = [r["iteration"] for r in json.loads(Path("grid/results.json").read_text())]
    assert all(0 < iteration < 1000000 for iteration in iterations)
    second = run_cli(*arguments, "--budget", "0.04")
    assert second.returncode == 0, second.stderr
    more = [r["iteration"] for r in json.loads(Path("grid/results.json").read_text())]
    assert all(now > before for now, before in zip(more, iterations, strict=True))


def test_wrong_names_are_told_before_anything_is_trained():
    for option, value in (
        ("--settings", "5w2s"), ("--algorithms", "mamlpp"), ("--backbones", "resnet1000"),
    ):  # fmt: skip
        done = run_cli("reproduce", option, value, "--data", "synthetic", "--iterations", "1")
        assert done.returncode in {2, 5}, done.stderr
        assert value in done.stderr and "needed" in done.stderr
        assert not list(Path("reproduce").glob("*/last.safetensors"))
    done = run_cli("reproduce", "--settings", ",")
    assert done.returncode == 2 and "the grid is empty" in done.stderr


def test_cells_know_published_figures():
    assert Cell("5w1s", "basenet", "maml").published == ("the tutorial's author", 97.5)
    assert Cell("5w1s", "basenet", "anil").published is None
    assert Cell("20w5s", "cnn4", "maml").settings().ways == 20
    assert len(grid(["5w1s", "5w5s"], ["fc"], ["maml", "anil"])) == 4
    with pytest.raises(SettingsError, match="'6w': needed one of 5w1s"):
        grid(["6w"], ["fc"], ["maml"])
