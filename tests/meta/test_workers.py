"""Worker processes as torchrun starts them, some of them killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import run_cli
from processes import Started, start_cli

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.meta.workers import ALONE, Workers, joined

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workers")]
TRAIN = [
    "train", "--data", "synthetic", "--iterations", "6", "--queries", "3", "--schedule", "constant",
    "--validation-every", "3", "--validation-tasks", "4", "--meta-batch-size", "4",
    "--inner-rates", "layer-step", "--head", "trained",
]  # fmt: skip
LONG = [*TRAIN, "--backbone", "fc", "--iterations", "100000", "--validation-every", "20"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "last.safetensors").weights


def validations(run: Path) -> list[MetricsRow]:
    return [row for row in RunFolder(run).read_metrics() if row.validated]


def assert_same(one: Path, other: Path) -> None:
    """The same but for the order in which numbers were added.

    On average: Adam makes a whole step of the sign of a gradient that is next to 0.
    """
    for name, value in weights(one).items():
        assert (weights(other)[name] - value).abs().mean() < 1e-5, name
    rates = [load_checkpoint(run / "last.safetensors").rates["rates"] for run in (one, other)]
    torch.testing.assert_close(*rates, atol=1e-5, rtol=0)
    # The first only: the inner loop of so young a network, at a loss of 10, magnifies rounding.
    row, twin = validations(one)[0], validations(other)[0]
    assert twin.validation_loss == pytest.approx(row.validation_loss, rel=0.01)
    assert twin.validation_accuracy == pytest.approx(row.validation_accuracy, abs=0.05)


def torchruns_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells a worker."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**os.environ, **{name: str(value) for name, value in {**place, **there}.items()}}


def start(count: int, *arguments: str) -> list[Started]:
    """A job of so many workers: what torchrun starts, to be watched one by one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start_cli(*arguments, env=torchruns_environment(rank, count, port)) for rank in range(count)
    ]


def ends(job: list[Started]) -> list[tuple[int | None, str, str]]:
    """The exit code of each worker, and what is left of its output and errors."""
    try:
        said = [worker.communicate(timeout=120) for worker in job]
    finally:
        for worker in job:
            worker.kill()
    return [(worker.returncode, *texts) for worker, texts in zip(job, said, strict=True)]


def wait_for_line(worker: Started, text: str) -> None:
    assert worker.stderr is not None
    seen = []
    for line in worker.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"no {text!r} in:\n{''.join(seen)}")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process."""
    run = tmp_path_factory.mktemp("straight") / "run"
    done = run_cli(*TRAIN, "--run-dir", str(run))
    assert done.returncode == 0, done.stderr
    rates = load_checkpoint(run / "last.safetensors").rates["rates"]
    assert (rates - 0.4).abs().max() > 1e-3  # learned from where they began
    return run


def test_three_workers_share_a_training(straight: Path, tmp_path: Path):
    """They read the file of settings too; the first alone speaks, and writes."""
    (tmp_path / "own.toml").write_text("[train]\ntensorboard = true\n")
    run = tmp_path / "run"
    job = start(3, "--config", "own.toml", *TRAIN, "--run-dir", str(run))
    (code, output, errors), *others = ends(job)
    assert code == 0, errors
    assert others == [(0, "", "")] * 2
    assert output.count("Finished") == 1 and errors.count("iteration 6/6") == 1
    assert "by 3 workers" in errors
    assert_same(straight, run)
    assert len(list(run.glob("events*"))) == 1


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
LEAVE = """
import sys
from pathlib import Path
from torch import distributed

def threads():
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}

def leave(leave=distributed.destroy_process_group):
    assert "pt_gloo_runloop" in threads(), threads()
    leave()

distributed.destroy_process_group = leave
from l2l_omniglot.cli import cli
cli.main(sys.argv[1:], standalone_mode=False)
print("left", sorted(name for name in threads() if "gloo" in name))
"""


@needs_proc
def test_no_thread_of_the_group_outlives_it(straight: Path, tmp_path: Path):
    """One that does may crash the process as it ends: "terminate called without ..."."""
    done = subprocess.run(  # a new process, for it is about what is imported when
        [sys.executable, "-c", LEAVE, *TRAIN, "--run-dir", "run"],
        env=torchruns_environment(0, 1, 0), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.stdout.endswith("left []\n"), done.stderr
    assert_same(straight, tmp_path / "run")


def wait_for(log: Path, text: str) -> None:
    for _ in range(1200):
        if text in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in:\n{log.read_text()}")


def worker(run: Path, rank: int) -> int:
    """The process number of a worker that trains into `run`."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile
            continue
        if str(run).encode() in words and f"RANK={rank}".encode() in environment:
            return int(path.name)
    raise AssertionError(f"no worker {rank} of {run}")


@needs_proc
@pytest.mark.slow
def test_torchrun_starts_dead_workers_again_from_the_last_checkpoint(npy: Path, tmp_path: Path):
    """New processes, for torchrun starts them: once the second dies, once the first."""
    run, log = tmp_path / "run", tmp_path / "log"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=2", "-m", "l2l_omniglot", *LONG]
    short = ["--iterations", "60", "--validation-every", "10"]
    with log.open("wb") as file:
        job = subprocess.Popen(
            [*command, *short, "--data", str(npy), "--run-dir", str(run)],
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for(log, "iteration 10/60")
        os.kill(worker(run, 1), signal.SIGKILL)
        wait_for(log, "Resuming fc")
        reached = validations(run)[-1].iteration
        wait_for(log, f"iteration {reached + 10}/60")
        os.kill(worker(run, 0), signal.SIGKILL)
        assert job.wait(120) == 0, log.read_text()
    finally:
        job.kill()
    assert log.read_text().count("Resuming fc") == 2
    assert "iteration 60/60" in log.read_text()
    iterations = [row.iteration for row in validations(run)]
    assert iterations == list(range(10, 61, 10))


def test_a_dead_worker_ends_the_job_and_resume_goes_on_until_one_is_stopped(tmp_path: Path):
    run = tmp_path / "run"
    job = start(2, *LONG, "--run-dir", str(run))
    wait_for_line(job[0], "iteration 20/")
    job[1].kill()
    (code, _, errors), (other, *_) = ends(job)
    assert (code, other) == (8, -9), errors
    assert errors.count("Error:") == 1
    assert "Error: another worker is gone" in errors
    reached = load_checkpoint(run / "last.safetensors").iteration

    job = start(2, "train", "--resume", str(run))
    wait_for_line(job[0], f"iteration {reached + 20}/")
    job[1].send_signal(signal.SIGINT)  # all stop at the same iteration
    (code, _, errors), (other, *said) = ends(job)
    assert (code, other, said) == (130, 130, ["", ""]), errors
    assert f"train --resume {run}" in errors
    assert reached + 20 <= load_checkpoint(run / "last.safetensors").iteration < 100_000


def test_evaluation_is_shared_out(straight: Path):
    options = ("evaluate", "--weights", str(straight), "--tasks", "9", "--json")
    one, ((code, output, errors), other) = run_cli(*options), ends(start(2, *options))
    assert (code, other) == (0, (0, "", "")), errors
    alone, shared = json.loads(one.stdout), json.loads(output)
    for name in ("accuracy", "ci95", "loss", "accuracy_per_step", "loss_per_step"):
        assert shared.pop(name) == pytest.approx(alone.pop(name), rel=1e-3), name
    assert shared.keys() == alone.keys()
    assert shared["tasks"] == alone["tasks"] == 9


def test_errors_are_said_once(straight: Path, tmp_path: Path):
    """Those of data, which the first opens, and those that each comes upon."""
    shutil.copytree(straight, "run")
    for name in ("last", "before-last"):
        Path(f"run/{name}.safetensors").write_bytes(b"broken")
    for arguments, expected, said in (
        (("train", "--data", "nowhere.npy"), 3, "nowhere.npy"),
        (("train", "--resume", "run", "--iterations", "8"), 6, "last.safetensors"),
    ):
        job = start(2, *arguments)
        job[0].wait(60)
        assert job[1].poll() in {None, expected}  # the job's code is that of who ends first
        (code, _, errors), (other, *silent) = ends(job)
        assert code == expected and other in {expected, 8}, errors  # 8: its fellow is gone
        assert silent == ["", ""]
        assert errors.count("Error:") == 1 and said in errors


def test_shares_make_up_the_whole_in_order():
    for count in (1, 2, 3, 7):
        shares = [Workers(rank, count).share(5) for rank in range(count)]
        assert [number for share in shares for number in share] == [0, 1, 2, 3, 4]


def test_alone_nothing_is_exchanged():
    tensor = torch.ones(2)
    ALONE.sum(tensor)
    assert tensor.tolist() == [1, 1]
    assert ALONE.any(True, False) == (True, False)
    assert ALONE.from_first("value") == "value"
    with joined(torch.device("cpu")) as workers:
        assert workers is ALONE


def test_a_broken_environment_is_a_settings_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="torchrun should"), joined(torch.device("cpu")):
        pass
