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
from l2l_omniglot.experiments import trials
def reached(self, row, best):
    print("validated", file=sys.stderr, flush=True)
    {}
trials.Reporter.on_validation = reached
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
        (["--storage", "own.npy"], 6, "own.npy: line 1 is damaged; expected a journal of Optuna"),
        (["--storage", "nosuch://u:secret@h/d"], 2, "nosuch://u:***@h/d': expected a database"),
        (["--algorithm", "protonet"], 2, "--algorithm 'protonet': with the other settings that"),
    ],
)
def test_refusals(more: list[str], code: int, said: str):
    done = run_cli(*SMALL, *more)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "secret" not in done.stderr and not Path("tune").exists()


def test_a_journal_cut_in_its_last_line_goes_on():
    assert run_cli(*SMALL, "--trials", "1").returncode == 0
    journal = Path("tune/study/journal.log")
    journal.write_bytes(journal.read_bytes()[:-30])
    done = run_cli(*SMALL, "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert all(json.loads(line) for line in journal.read_text().splitlines())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hello", "has no whole line; expected a journal of Optuna"),
        ("\n", "line 1 is damaged"),
        ("[" * 100_000 + "\n", "line 1 is damaged"),
        ('{"op_code": 11}\n', "line 1 is damaged"),
        ('{"op_code": 5}\n', "the study in it cannot be read or written"),
    ],
)
def test_what_is_no_journal_is_refused_and_left_as_it_is(content: str, said: str):
    Path("mine.txt").write_text(content)
    done = run_cli(*SMALL, "--storage", "mine.txt")
    assert done.returncode == 6 and done.stderr.startswith("Error: mine.txt: "), done.stderr
    assert said in done.stderr and Path("mine.txt").read_text() == content


def test_a_journal_cannot_name_a_folder_outside_of_the_study():
    assert run_cli(*SMALL, "--trials", "1").returncode == 0
    journal = Path("tune/study/journal.log")
    journal.write_text(journal.read_text().replace('"trial-0000"', '"../../evil"'))
    done = run_cli(*SMALL)
    assert done.returncode == 6 and not Path("evil").exists()
    assert "trial 0 has run '../../evil'; expected one such as 'trial-0001'" in done.stderr


def test_the_best_settings_are_not_written_over_what_is_read(npy: Path):
    done = run_cli(*SMALL, "--storage", "a.toml", "--out", "a.toml")
    assert done.returncode == 2 and "expected two different files" in done.stderr
    Path("mine.toml").write_text("ways = 3\n")
    done = run_cli(*SMALL, "--config", "mine.toml", "--out", "mine.toml")
    assert done.returncode == 2 and "is the file of the configuration" in done.stderr
