"""A search by real processes, which share it, are killed, stopped, and started again."""

import json
import sqlite3
from pathlib import Path

import pytest
from conftest import run_cli
from processes import Started, start_cli

SMALL = (
    "tune", "--data", "own.npy", "--backbone", "fc", "--ways", "3", "--queries", "2",
    "--meta-batch-size", "1", "--iterations", "4", "--validation-every", "2",
    "--validation-tasks", "2", "--trials", "4", "--json",
)  # fmt: skip
SHORT = "from l2l_omniglot.experiments import storage; storage.HEARTBEAT, storage.GRACE = 1, 5; "
# Does something at the first validation, which is saved by then.
AT_VALIDATION = """
import os, signal, sys
from l2l_omniglot.experiments import study
def reached(self, row, best):
    print("validated", file=sys.stderr, flush=True)
    {}
study._Reporter.on_validation = reached
"""
MAIN = "from l2l_omniglot.cli import main; main()"


@pytest.fixture(autouse=True)
def _optuna(npy: Path) -> None:
    pytest.importorskip("optuna")


def start(code: str, *arguments: str) -> Started:
    return Started(["-c", f"{SHORT}{code}\n{MAIN}", *arguments])


def sessions(run: str) -> int:
    return len(json.loads(Path("tune/study", run, "config.json").read_text())["sessions"])


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["", "sqlite:///trials.db"])
def test_the_trial_of_a_killed_process_is_tried_once_more_by_another(storage: str):
    words = (*SMALL, *(["--storage", storage] if storage else []))
    killed = start(AT_VALIDATION.format("signal.pause()"), *words)
    killed.wait_for("validated")
    other = start("", *words)
    other.wait_for("3 of 4 done")
    killed.kill()
    killed.communicate(timeout=60)
    output, said = other.communicate(timeout=120)
    assert other.returncode == 0, said
    trials = json.loads(output)["trials"]
    assert sorted((each["number"], each["run"]) for each in trials) == [
        (1, "trial-0001"), (2, "trial-0002"), (3, "trial-0003"), (4, "trial-0000"),
    ]  # fmt: skip
    assert [sessions(each["run"]) for each in sorted(trials, key=lambda t: t["run"])] == [
        2,
        1,
        1,
        1,
    ]
    if storage:
        (count,) = sqlite3.connect("trials.db").execute("select count(*) from trials").fetchone()
        assert count == 5
    again = run_cli(*words)  # nothing is left
    assert again.returncode == 0 and json.loads(again.stdout)["trials"] == trials


@pytest.mark.slow
def test_ctrl_c_ends_and_the_same_command_goes_on():
    stopped = start(AT_VALIDATION.format("os.kill(os.getpid(), signal.SIGINT)"), *SMALL)
    _, said = stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert "Stopped; the same command goes on." in said
    done = run_cli(*SMALL)
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert sorted(each["run"] for each in trials) == [f"trial-000{n}" for n in (0, 2, 3, 4)]
    assert sessions("trial-0000") == 2


@pytest.mark.slow
def test_two_processes_try_as_many_as_asked_for_and_the_best_is_what_config_takes():
    words = (*SMALL[:-1], "--trials", "6")
    processes = [start_cli(*words, "--out", f"{name}.toml") for name in "ab"]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert "Best validation accuracy of 6 trials" in ended[0][0]
    assert sum(said.count(" done: ") for _, said in ended) == 6
    assert Path("a.toml").read_text() == Path("b.toml").read_text()
    done = run_cli("train", "--config", "a.toml", "--run-dir", "again")
    assert done.returncode == 0, done.stderr
    best = json.loads(run_cli(*words, "--json").stdout)["best"]
    settings = [
        json.loads(Path(folder, "config.json").read_text())["settings"]
        for folder in ("again", f"tune/study/{best['run']}")
    ]
    assert settings[0] == settings[1]


@pytest.mark.slow
def test_the_same_seed_tries_the_same_and_another_search_is_refused():
    def tried(*more: str) -> list[dict]:
        done = run_cli(*SMALL, *more)
        assert done.returncode == 0, done.stderr
        found = sorted(json.loads(done.stdout)["trials"], key=lambda each: each["number"])
        return [each["settings"] for each in found]

    one, two = tried("--study", "one", "--trials", "2"), tried("--study", "two", "--trials", "2")
    assert one == two and one[0] != one[1]
    assert tried("--study", "other", "--trials", "2", "--seed", "1") != one
    for more, said in (
        (["--shots", "2"], "study one has trials with shots 'not given', here it is 2"),
        (["--search", "inner_steps=1..2"], "study one has trials with search 'inner_lr=0.01..1"),
    ):
        other = run_cli(*SMALL, "--study", "one", *more)
        assert other.returncode == 6 and said in other.stderr, other.stderr


@pytest.mark.slow
def test_trainings_that_diverge_do_not_end_the_study():
    words = (*SMALL, "--meta-lr", "1000", "--search", "inner_lr=1e5,1e6")
    done = run_cli(*words, "--inner-steps", "20", "--eval-steps", "20", "--trials", "2")
    assert done.returncode in {0, 7}, done.stderr  # on every processor to infinity, or nearly
    assert "2 of 2 done: " in done.stderr
    if done.returncode:
        assert "no trial was trained to its end" in done.stderr and not Path("best.toml").exists()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--search", "inner_lr=2..1"], 2, "--search 'inner_lr=2..1': expected a range from"),
        (["--search", "inner_lr=1..2", "--inner-lr", "1"], 2, "with --inner-lr; expected one of"),
        (["--study", "a/b"], 2, "--study 'a/b': expected letters, digits"),
        (["--storage", "."], 2, "--storage '.': expected the path of a journal file"),
        (["--storage", "own.npy"], 2, "--storage 'own.npy': is no journal of Optuna"),
        (["--storage", "nosuch://u:secret@h/d"], 2, "nosuch://u:***@h/d': expected a database"),
        (["--algorithm", "protonet"], 2, "--algorithm 'protonet': with the other settings that"),
    ],
)
def test_refusals(more: list[str], code: int, said: str):
    done = run_cli(*SMALL, *more)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "secret" not in done.stderr and not Path("tune").exists()
