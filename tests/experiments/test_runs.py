"""The newest run, wherever it is."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import run_cli
from processes import start_cli

from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.runs import known_runs, newest_run, record_run, taken

SMALL = (
    "train", "--data", "synthetic", "--backbone", "fc", "--ways", "3", "--queries", "3",
    "--meta-batch-size", "1", "--validation-tasks", "2", "--validation-every", "2",
)  # fmt: skip
RECORD = Path("runs/elsewhere.jsonl")


def make(path: str, age: float, file: str = "last.safetensors") -> Path:
    folder = Path(path)
    folder.mkdir(parents=True)
    moment = time.time() - age
    (folder / file).touch()
    os.utime(folder / file, (moment, moment))
    record_run(folder)
    return folder


def names() -> list[str]:
    return [str(run.path) for run in known_runs()]


def test_runs_elsewhere_are_found_by_the_record(tmp_path: Path):
    make("runs/a", 30)
    assert not RECORD.exists()  # in the default place
    make("b", 20)
    make("deep/c", 10)
    other = make(str(tmp_path.parent / f"{tmp_path.name}-other"), 40)
    assert names() == ["deep/c", "b", "runs/a", str(other.resolve())]
    record_run(Path("b"))
    assert len(RECORD.read_text().splitlines()) == 3  # each once


def test_a_run_that_was_moved_or_deleted_breaks_nothing():
    make("runs/a", 30)
    make("b", 20)
    make("c", 10)
    shutil.rmtree("c")
    Path("b").rename("moved")
    with RECORD.open("a") as file:
        file.write('broken\n7\n""\n"a\\u0000b"\n"/tmp/\\ud800x"\n')
    assert names() == ["runs/a"]
    Path("moved").rename("b")
    assert newest_run().path == Path("b")
    RECORD.write_bytes(b"\xff\xfe\n")
    assert names() == ["runs/a"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("null", "expected an object with settings, facts and sessions"),
        ('{"settings": {"device": 1}, "facts": {}, "sessions": []}', "the setting 'device', which"),
    ],
)
def test_a_config_of_something_else_says_what_was_needed(config: str, said: str):
    folder = make("runs/a", 30, "config.json")
    (folder / "config.json").write_text(config)
    with pytest.raises(RunError, match=f"config.json: cannot be read: .*{said}"):
        RunFolder(folder).read_settings()


def test_a_record_that_is_a_pipe_is_not_waited_for():
    Path("runs").mkdir()
    os.mkfifo(RECORD)
    record_run(make("b", 20))
    assert names() == []


def test_a_record_that_cannot_be_written_breaks_nothing():
    Path("runs").write_text("a file")
    make("b", 20)
    assert known_runs() == []
    with pytest.raises(RunError, match="runs: no run found"):
        newest_run()


def test_a_run_without_a_checkpoint_can_be_resumed_and_not_evaluated():
    make("runs/a", 30)
    make("runs/b", 10, "config.json")
    assert newest_run().path.name == "b"
    assert newest_run(trained=True).path.name == "a"


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (-5, "less than a minute ago"), (59, "less than a minute ago"), (60, "1 minute ago"),
        (3599, "59 minutes ago"), (3600, "1 hour ago"), (7201, "2 hours ago"),
        (86_400, "1 day ago"), (90 * 86_400, "90 days ago"),
    ],
)  # fmt: skip
def test_it_says_how_old_a_run_is(age: float, said: str):
    make("runs/a", 0)
    now = Path("runs/a/last.safetensors").stat().st_mtime + age
    assert taken(newest_run(), now) == f"Taking the newest run: runs/a, saved {said}."


def test_after_ctrl_c_elsewhere_bare_commands_take_that_run():
    assert run_cli(*SMALL, "--iterations", "2").returncode == 0
    process = start_cli(*SMALL, "--iterations", "100000", "--run-dir", "else/where")
    process.wait_for("iteration 2/")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    said = "Taking the newest run: else/where, saved "
    evaluated = run_cli("evaluate", "--tasks", "2", "--json")
    assert said in evaluated.stderr
    assert json.loads(evaluated.stdout)["weights"] == "else/where/best.safetensors"
    assert said in run_cli("report", "--tasks", "2").stderr
    resumed = run_cli("train", "--resume", "--time-limit", "0.001")
    assert said in resumed.stderr and "in else/where" in resumed.stderr
    assert re.search("--weights else/where$", resumed.stdout)
    named = run_cli("evaluate", "--tasks", "2", "--weights", "else/where")
    assert "newest" not in named.stderr
