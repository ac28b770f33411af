"""Worker processes as torchrun starts them, some of them killed."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import run_cli
from processes import DRAWN, Started, client, served, start_cli, wait_for

from l2l_omniglot.cli import PAUSE, _end
from l2l_omniglot.errors import RunError, SettingsError, WorkerError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.meta.workers import ALONE, Workers, joined

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workers")]
TRAIN = [
    "train", "--data", "synthetic", "--iterations", "6", "--queries", "3", "--schedule", "constant",
    "--validation-every", "3", "--validation-tasks", "4", "--meta-batch-size", "4",
    "--inner-rates", "layer-step", "--head", "trained", "--inner-lr", "0.02", "--meta-lr", "1e-7",
]  # fmt: skip
LONG = [*TRAIN, "--backbone", "fc", "--iterations", "100000", "--validation-every", "20"]


def validations(run: Path) -> list[MetricsRow]:
    return [row for row in RunFolder(run).read_metrics() if row.validated]


def assert_same(one: Path, other: Path) -> None:
    """The same but for the order in which numbers were added.

    Adam makes a whole step of the sign of a gradient next to 0, so what is compared is what it
    averages. The rates of TRAIN are small, for larger ones magnify rounding with every update.
    """
    states = [load_checkpoint(run / "last.safetensors").optimizer for run in (one, other)]
    for name, value in states[0].items():  # 1e-5 was seen; a third of the tasks is most of it
        assert (states[1][name] - value).norm() <= 1e-3 * value.norm() + 1e-9, name
    rows, twins = validations(one), validations(other)
    for row, twin in zip(rows, twins, strict=True):
        assert twin.validation_loss == pytest.approx(row.validation_loss, rel=1e-3)
        assert twin.validation_accuracy == pytest.approx(row.validation_accuracy, abs=0.05)


def torchruns_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells a worker."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**os.environ, **{name: str(value) for name, value in {**place, **there}.items()}}


def free_port() -> int:
    """One that no system gives away by itself (from 32,768 on), and nobody listens at."""
    for port in random.Random(os.getpid()).sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a hundred ports are taken")


def start(count: int, *arguments: str) -> list[Started]:
    """A job of so many workers: what torchrun starts, to be watched one by one."""
    port = free_port()
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


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process."""
    run = tmp_path_factory.mktemp("straight") / "run"
    done = run_cli(*TRAIN, "--run-dir", str(run))
    assert done.returncode == 0, done.stderr
    rates = load_checkpoint(run / "last.safetensors").rates["rates"]
    assert (rates != 0.02).any()  # learned
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
    env = {**torchruns_environment(0, 1, 0), "L2L_OMNIGLOT_CACHE": str(DRAWN)}
    done = subprocess.run(  # a new process, for it is about what is imported when
        [sys.executable, "-c", LEAVE, *TRAIN, "--run-dir", "run"],
        env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("left []\n"), done.stderr
    assert_same(straight, tmp_path / "run")


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
    """Once the second dies, once the first; what torchrun starts has processes forked."""
    run, program = tmp_path / "run", tmp_path / "python"
    program.write_text(f'#!/bin/sh\nshift\nexec {client(tmp_path / "door")} "$@"\n')  # without -u
    program.chmod(0o755)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=2", "-m", "l2l_omniglot", *LONG]
    with (
        served(tmp_path / "door"),
        subprocess.Popen(
            [*command, "--data", str(npy), "--run-dir", str(run)],
            env={**os.environ, "PYTHON_EXEC": str(program)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as job,
    ):  # fmt: skip
        assert job.stdout is not None
        try:
            wait_for(job.stdout, "iteration 20/")
            for rank in (1, 0):
                os.kill(worker(run, rank), signal.SIGKILL)
                wait_for(job.stdout, "Resuming fc")
                wait_for(job.stdout, "iteration ")
            job.terminate()
            job.communicate(timeout=120)
        finally:
            job.kill()
    reached = load_checkpoint(run / "last.safetensors").iteration
    done = run_cli("train", "--resume", str(run), "--iterations", str(reached + 20))
    assert done.returncode == 0, done.stderr
    iterations = [row.iteration for row in validations(run)]
    assert iterations[:-1] == list(range(20, reached + 20, 20)) and iterations[-1] == reached + 20


def test_a_dead_worker_ends_the_job_and_resume_goes_on_until_one_is_stopped(tmp_path: Path):
    run = tmp_path / "run"
    job = start(2, *LONG, "--run-dir", str(run))
    job[0].wait_for("iteration 20/")
    job[1].kill()
    (code, _, errors), (other, *_) = ends(job)
    assert (code, other) == (8, -9), errors
    assert errors.count("Error:") == 1
    assert "Error: another worker is gone" in errors
    reached = load_checkpoint(run / "last.safetensors").iteration

    job = start(2, "train", "--resume", str(run))
    job[0].wait_for(f"iteration {reached - reached % 20 + 20}/")
    job[1].send_signal(signal.SIGINT)  # all stop at the same iteration
    (code, _, errors), (other, *said) = ends(job)
    assert (code, other, said) == (130, 130, ["", ""]), errors
    assert f"train --resume {run}" in errors
    assert reached < load_checkpoint(run / "last.safetensors").iteration < 100_000


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
        (code, _, errors), (other, *silent) = ends(job)
        assert code == expected and other in {expected, 8}, errors  # 8: its fellow is gone
        assert silent == ["", ""]
        assert errors.count("Error:") == 1 and said in errors


def test_who_made_the_job_fail_ends_first(monkeypatch: pytest.MonkeyPatch):
    """For torchrun takes the exit code of that worker for the job's."""
    pauses: list[float] = []
    monkeypatch.setattr("l2l_omniglot.cli.time.sleep", pauses.append)
    for name, value in torchruns_environment(1, 2, 0).items():
        monkeypatch.setenv(name, value)
    assert _end(RunError("broken")) == 6
    assert _end(WorkerError("another worker is gone")) == 8
    assert pauses == [0, PAUSE]


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
