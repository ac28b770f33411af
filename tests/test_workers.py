"""Real processes, started by torchrun and by --processes, some of them killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import run_cli
from l2l_omniglot.launch import launch

from l2l_omniglot.checkpoint import load_checkpoint
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.run import RunFolder
from l2l_omniglot.workers import ALONE, Workers, joined

TRAIN = [
    "train", "--data", "synthetic", "--iterations", "6", "--queries", "3", "--schedule", "constant",
    "--validation-every", "3", "--validation-tasks", "4", "--meta-batch-size", "4",
]  # fmt: skip
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
MODULE = ["-m", "l2l_omniglot"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "last.safetensors").weights


def assert_same(one: Path, other: Path) -> None:
    """The same but for the order in which numbers were added."""
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(other)[name], value, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process."""
    run = tmp_path_factory.mktemp("straight") / "run"
    done = run_cli(*TRAIN, "--run-dir", str(run))
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_weights(straight: Path, tmp_path: Path, count: int):
    run = tmp_path / "run"
    command = [*TORCHRUN, f"--nproc-per-node={count}", *MODULE, *TRAIN, "--run-dir", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(straight, run)
    assert done.stdout.count("Finished") == 1  # only the first speaks
    assert done.stderr.count("iteration 6/6") == 1
    one, other = RunFolder(straight).read_metrics(), RunFolder(run).read_metrics()
    for row, twin in zip(one, other, strict=True):
        assert twin.validation_accuracy == pytest.approx(row.validation_accuracy, abs=0.05)


def test_learned_inner_rates_are_shared_too(tmp_path: Path):
    rates = []
    for count in ("1", "2"):
        run = tmp_path / count
        done = run_cli(
            *TRAIN, "--inner-rates", "layer-step", "--processes", count, "--run-dir", str(run)
        )
        assert done.returncode == 0, done.stderr
        rates.append(load_checkpoint(run / "last.safetensors").rates["rates"])
    torch.testing.assert_close(*rates, atol=1e-5, rtol=0)
    assert (rates[0] - 0.4).abs().max() > 1e-3  # learned from where it began


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
LEAVE = """
from pathlib import Path
import torch
from l2l_omniglot.workers import joined

def threads():
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}

with joined(torch.device("cpu")):
    import l2l_omniglot.learner, torch.distributed.nn.functional
    assert "pt_gloo_runloop" in threads(), threads()
print("left", sorted(name for name in threads() if "gloo" in name))
"""


@needs_proc
def test_no_thread_of_the_group_outlives_it(tmp_path: Path):
    """One that does may crash the process as it ends: "terminate called without ..."."""
    script = tmp_path / "leave.py"
    script.write_text(LEAVE)
    command = [*TORCHRUN, "--nproc-per-node=1", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "left []\n", done.stderr


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


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


LONG = [*TRAIN, "--backbone", "fc", "--iterations", "120", "--validation-every", "20"]


@needs_proc
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_dead_workers_again_from_the_last_checkpoint(tmp_path: Path, rank: int):
    run, log = tmp_path / "run", tmp_path / "log"
    command = [*TORCHRUN, "--nproc-per-node=2", "--max-restarts=1", *MODULE, *LONG]
    job = start([*command, "--run-dir", str(run)], log)
    wait_for(log, "iteration 20/120")
    os.kill(worker(run, rank), signal.SIGKILL)
    assert job.wait(120) == 0, log.read_text()
    assert "Resuming fc" in log.read_text()
    assert "iteration 120/120" in log.read_text()
    iterations = [row.iteration for row in RunFolder(run).read_metrics()]
    assert iterations == list(range(20, 121, 20))


@needs_proc
def test_a_dead_worker_ends_the_job_and_resume_goes_on(tmp_path: Path):
    run, log = tmp_path / "run", tmp_path / "log"
    job = start([sys.executable, *MODULE, *LONG, "--processes", "2", "--run-dir", str(run)], log)
    wait_for(log, "iteration 20/120")
    os.kill(worker(run, 1), signal.SIGKILL)
    assert job.wait(60) == 8, log.read_text()
    assert log.read_text().count("Error:") == 1
    assert (
        "Error: worker 1 died (exit code -9); a training goes on from its last" in log.read_text()
    )
    done = run_cli("train", "--resume", str(run), "--iterations", "120", "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(run / "last.safetensors").iteration == 120


@needs_proc
def test_no_worker_outlives_a_killed_launcher(tmp_path: Path):
    run, log = tmp_path / "run", tmp_path / "log"
    long = [*LONG, "--iterations", "100000"]
    job = start([sys.executable, *MODULE, *long, "--processes", "2", "--run-dir", str(run)], log)
    wait_for(log, "iteration 20/")
    workers = [Path(f"/proc/{worker(run, rank)}/cmdline") for rank in (0, 1)]
    job.kill()
    job.wait(60)
    for _ in range(600):
        if not any(path.exists() and path.read_bytes() for path in workers):
            break
        time.sleep(0.1)
    else:
        raise AssertionError(f"still there:\n{log.read_text()}")
    assert load_checkpoint(run / "last.safetensors").iteration >= 20


def test_ctrl_c_stops_all_workers_at_the_same_iteration(tmp_path: Path):
    run, log = tmp_path / "run", tmp_path / "log"
    long = [*LONG, "--iterations", "100000"]
    job = start([sys.executable, *MODULE, *long, "--processes", "2", "--run-dir", str(run)], log)
    wait_for(log, "iteration 20/")
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130, log.read_text()
    assert f"train --resume {run}" in log.read_text()
    assert 20 <= load_checkpoint(run / "last.safetensors").iteration < 100_000


def test_evaluation_is_shared_out(straight: Path):
    options = ("evaluate", "--run", str(straight), "--tasks", "9", "--json")
    one, two = run_cli(*options), run_cli(*options, "--processes", "2")
    assert two.returncode == 0, two.stderr
    alone, shared = json.loads(one.stdout), json.loads(two.stdout)
    for name in ("accuracy", "ci95", "loss", "accuracy_per_step", "loss_per_step"):
        assert shared.pop(name) == pytest.approx(alone.pop(name), rel=1e-3), name
    assert shared.keys() == alone.keys()
    assert shared["tasks"] == alone["tasks"] == 9


def test_errors_of_data_are_said_once(tmp_path: Path):
    done = run_cli("train", "--data", "nowhere.npy", "--processes", "2")
    assert done.returncode == 3
    assert done.stderr.count("Error:") == 1
    assert "nowhere.npy" in done.stderr
    done = run_cli("train", "--data", "synthetic", "--ways", "1", "--processes", "2")
    assert (done.returncode, done.stderr) == (2, "Error: --ways 1: needed at least 2\n")
    done = run_cli("train", "--data", "synthetic", "--ways", "400", "--processes", "2")
    assert done.returncode == 3
    assert done.stderr.count("Error:") == 1


def test_a_broken_checkpoint_is_said_once(straight: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    (run / "last.safetensors").write_bytes(b"broken")
    done = run_cli("train", "--resume", str(run), "--iterations", "8", "--processes", "2")
    assert done.returncode == 6, done.stderr
    assert done.stderr.count("Error:") == 1


def test_more_processes_than_cores_are_refused():
    with pytest.raises(SettingsError, match=r"--processes 100000: needed 1 to \d+"):
        launch(100_000, [])


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
    with (
        pytest.raises(SettingsError, match="torchrun should"),
        joined(torch.device("cpu")),
    ):
        pass
