"""Quiet and verbose, colours, close matches, and what `info` says."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from conftest import put_into_cache, run_cli
from terminal import Terminal

from l2l_omniglot.cli.console import wants_colour
from l2l_omniglot.errors import DataError, SettingsError, check_choice, did_you_mean, expected_name

ESCAPE = "\x1b["
SHORT = (
    "--backbone", "fc", "--ways", "3", "--queries", "3", "--meta-batch-size", "1",
    "--validation-tasks", "2", "--validation-every", "2", "--iterations", "4",
)  # fmt: skip
COMMAND = [sys.executable, "-m", "l2l_omniglot"]  # in new processes, on terminals


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),  # on a terminal
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"TERM": "dumb"}, False),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, None),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_when_there_are_colours(
    env: dict[str, str], expected: bool | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert wants_colour() is expected


def test_errors_are_red_on_a_terminal_only():
    for arguments in (["trian"], ["train", "--ways", "1"]):
        command = [*COMMAND, *arguments]
        env = {**os.environ, "TERM": "xterm"}
        with Terminal(command, env) as terminal:
            assert "\x1b[31m\x1b[1mError:\x1b[0m " in terminal.all()
        with Terminal(command, {**env, "NO_COLOR": "1"}) as terminal:
            shown = terminal.all()
            assert "Error: " in shown and ESCAPE not in shown
        assert ESCAPE not in run_cli(*arguments).stderr
        assert (
            f"{ESCAPE}31m{ESCAPE}1mError:" in run_cli(*arguments, env={"FORCE_COLOR": "1"}).stderr
        )


def test_the_best_values_stand_out_and_nothing_else_changes(npy: Path):
    piped = run_cli("train", "--data", str(npy), *SHORT, "--run-dir", "run")
    assert piped.returncode == 0 and ESCAPE not in piped.stdout + piped.stderr
    assert "(best)" in piped.stderr
    env = {"FORCE_COLOR": "1"}
    arguments = ("evaluate", "--weights", "run", "--tasks", "3")
    plain, bold = run_cli(*arguments), run_cli(*arguments, env=env)
    assert bold.returncode == 0 and ESCAPE not in plain.stdout
    marked = re.findall(r"\x1b\[1m([\d.]+ %)\x1b\[0m", bold.stdout)
    assert len(marked) == 2  # one a mode
    assert re.sub(r"\x1b\[[\d;]*m", "", bold.stdout) == plain.stdout
    rows = [line.split() for line in plain.stdout.splitlines() if re.match(r"\d+ +\d", line)]
    best = {max(float(row[place]) for row in rows) for place in (1, 6)}  # of either mode
    assert {float(text.split()[0]) for text in marked} == best
    body = run_cli(*arguments, "--json", env=env)
    assert ESCAPE not in body.stdout and json.loads(body.stdout)["tasks"] == 3


@pytest.mark.slow
def test_quiet_leaves_results_and_errors(npy: Path):
    done = run_cli("train", "--data", str(npy), *SHORT, "--quiet", "--run-dir", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Finished at iteration 4 of 4" in done.stdout
    for arguments in (("-q", "evaluate"), ("evaluate", "-q")):
        done = run_cli(*arguments, "--weights", "run", "--tasks", "2")
        assert (done.returncode, done.stderr) == (0, "")
        assert "transductive" in done.stdout
    wrong = run_cli("-q", "evaluate", "--weights", "nowhere")
    assert re.fullmatch("Error: nowhere: no such run folder or checkpoint, nor .*\n", wrong.stderr)
    with Terminal([*COMMAND, "-q", "evaluate", "--weights", "run", "--tasks", "2"]) as terminal:
        shown = terminal.all()
        assert "inductive" in shown and "evaluating" not in shown  # no bar
    by_variable = run_cli(
        "evaluate", "--weights", "run", "--tasks", "2", env={"L2L_OMNIGLOT_QUIET": "1"}
    )
    assert (by_variable.returncode, by_variable.stderr) == (0, "")


def test_verbose_says_what_is_done(npy: Path):
    train = run_cli("--verbose", "train", "--data", str(npy), *SHORT, "--run-dir", "run")
    assert train.returncode == 0, train.stderr
    assert re.search(r"Data: .*own\.npy, 60 classes of 20 images, .* SHA-256 \w{12}", train.stderr)
    done = run_cli("evaluate", "--weights", "run", "--tasks", "2", "-v")
    assert "Engine: stacked" in done.stderr
    assert re.search(r"Opening the data took \d+\.\d s", done.stderr)
    assert re.search(r"Evaluating took \d+\.\d s", done.stderr)
    usual = run_cli("evaluate", "--weights", "run", "--tasks", "2")
    assert "took" not in usual.stderr and done.stdout == usual.stdout


def test_verbose_and_quiet():
    Path("own.toml").write_text("quiet = true\n")
    file = ("--config", "own.toml", "pretrained")
    assert run_cli(*file).stderr == ""
    both = run_cli("-v", *file)
    assert (both.returncode, "--verbose and --quiet: expected only one" in both.stderr) == (2, True)


def test_close_matches():
    known = ("basenet", "cnn4", "fc")
    assert did_you_mean("basnet", known) == "; did you mean 'basenet'?"
    assert did_you_mean("BaseNet", known) == "; did you mean 'basenet'?"
    assert did_you_mean("resnet50x", known) == ""
    assert expected_name("x", known, "a path") == "expected one of basenet, cnn4, fc, or a path"
    assert expected_name("x", ()) == "there are none"
    check_choice("backbone", "fc", known)
    with pytest.raises(
        SettingsError, match="^backbone='cnn': expected one of .*; did you mean 'cnn4'"
    ):
        check_choice("backbone", "cnn", known)
    with pytest.raises(DataError, match="'x': expected one of basenet, cnn4, fc, or else"):
        check_choice("split", "x", known, also="else", kind=DataError)


def test_info_is_what_a_bug_report_needs(npy: Path, monkeypatch: pytest.MonkeyPatch):
    assert run_cli("train", "--data", str(npy), *SHORT).returncode == 0
    env = {
        "L2L_OMNIGLOT_MIRROR": "https://name:secret@example.org/omniglot",
        "L2L_OMNIGLOT_TRAIN_WAYS": "7",
    }
    printed, body = run_cli("info", env=env), run_cli("info", "--json", env=env)
    assert printed.returncode == body.returncode == 0
    found = json.loads(body.stdout)
    assert found["versions"]["learn2learn"] == "0.2.0"
    assert {"python", "torch", "numpy", "l2l-omniglot"} <= set(found["versions"])
    assert found["torch"]["devices"][0] == "cpu" and found["torch"]["threads"] >= 1
    assert found["learn2learn"]["imports"] is True
    assert found["data"]["prepared"] is False
    assert found["data"]["stack"].startswith(found["data"]["cache"])
    assert found["variables"]["L2L_OMNIGLOT_MIRROR"] == "https://...@example.org/omniglot"
    assert found["variables"]["L2L_OMNIGLOT_TRAIN_WAYS"] == "7"
    assert set(found["backbones"]) == {"basenet", "cnn4", "conv4", "fc", "resnet12", "resnet8"}
    assert "conv4" in found["pretrained"]
    run = found["newest run"]
    assert (run["ways"], run["backbone"], run["validated at"]) == (3, "fc", 4)
    for part, entries in found.items():
        assert part in printed.stdout
        for key in entries:
            assert key in printed.stdout
    assert "secret" not in printed.stdout + body.stdout


def test_info_finds_the_prepared_data(raw_npy: Path):
    put_into_cache(raw_npy)
    data = json.loads(run_cli("info", "--json").stdout)["data"]
    sidecar = json.loads(Path(data["stack"]).with_suffix(".json").read_text())
    assert (data["prepared"], data["classes"]) == (True, 1623)
    assert data["sha256"] == sidecar["sha256"]
    Path(data["stack"]).unlink()
    Path(data["stack"]).write_bytes(b"broken")
    broken = run_cli("info", "--json")
    assert broken.returncode == 0
    assert "not a readable .npy array" in json.loads(broken.stdout)["data"]["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "parts"), [("learn2learn", {"learn2learn"}), ("torch", {"learn2learn", "torch"})]
)
def test_info_says_what_is_broken(module: str, parts: set[str]):
    Path("site").mkdir()
    Path(f"site/{module}.py").write_text("raise ImportError('broken by design')\n")
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/config.json").write_text("{")
    path = os.pathsep.join(["site", os.environ.get("PYTHONPATH", "")])
    done = run_cli("info", "--json", env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    wrong = {part for part, entries in found.items() if set(entries) == {"error"}}
    assert wrong == parts | {"newest run"}
    for part in parts:
        assert "broken by design" in found[part]["error"]
    assert found["versions"]["torch"] and found["pretrained"]
    text = run_cli("info", env={"PYTHONPATH": path})
    assert text.returncode == 0 and "ImportError: broken by design" in text.stdout
