"""The command line in real processes, killed for real."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_cli
from processes import Started, start_cli

from l2l_omniglot.cli.console import TrainingProgress, open_console
from l2l_omniglot.data.stack import load_stack
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.trainer import StepResult

# Small enough for a few seconds, large enough to be stopped half-way.
SMALL = (
    "--ways", "3", "--queries", "3", "--meta-batch-size", "2", "--validation-tasks", "3",
    "--validation-every", "5", "--backbone", "fc", "--schedule", "cosine",
)  # fmt: skip


def read_rows(run: Path) -> list[dict[str, str]]:
    """The lines of validations."""
    with (run / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["validation_accuracy"]]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--nope"], []])
def test_starting_imports_neither_torch_nor_learn2learn_nor_numpy(arguments: list[str]):
    code = (
        "import sys; from l2l_omniglot.cli import main; sys.argv[1:] = sys.argv[1:];\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'learn2learn', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(  # a new process, for it is about what is imported
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("[]\n")
    assert done.returncode == (2 if "--nope" in arguments or not arguments else 0)


def test_train_evaluate_and_json(npy: Path, tmp_path: Path):
    done = run_cli("train", "--data", str(npy), *SMALL, "--iterations", "10")
    assert done.returncode == 0, done.stderr
    assert "iteration 5/10" in done.stderr and "iteration 10/10" in done.stderr
    [run] = (tmp_path / "runs").iterdir()
    assert sorted(path.name for path in run.iterdir()) == [
        "before-last.safetensors", "best.safetensors", "config.json", "last.safetensors",
        "metrics.csv",
    ]  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["ways"] == 3
    [session] = config["sessions"]
    assert session["versions"]["learn2learn"] == "0.2.0"
    assert {"torch", "numpy", "python"} <= set(session["versions"])
    assert "--iterations 10" in session["command"]
    assert [row["iteration"] for row in read_rows(run)] == ["5", "10"]
    assert f"evaluate --tasks 500 --weights {Path('runs') / run.name}" in done.stdout

    printed = run_cli("evaluate", "--tasks", "4")
    assert printed.returncode == 0, printed.stderr
    assert "transductive" in printed.stdout and "± " in printed.stdout
    before = (run / "best.safetensors").read_bytes()
    first, again, other = (
        run_cli("evaluate", "--tasks", "4", "--json", "--seed", seed) for seed in "001"
    )
    assert (run / "best.safetensors").read_bytes() == before
    assert first.stdout == again.stdout != other.stdout
    body = json.loads(first.stdout)
    assert set(body) >= {
        "tasks", "ways", "shots", "queries", "steps", "seed", "split", "data", "weights",
        "batch_norm", "accuracy", "ci95", "loss", "accuracy_per_step",
    }  # fmt: skip
    assert (body["tasks"], body["ways"], body["queries"], body["steps"]) == (4, 3, 3, 5)
    assert len(body["accuracy_per_step"]) == 6
    assert body["accuracy"] == body["accuracy_per_step"][-1]
    experiment = Experiment.load(run / "best.safetensors", load_stack(npy))
    tasks = experiment.tasks("test", seed=0)
    curve = evaluate(experiment.learner, tasks, 4, 5, batch_norm="transductive").curve
    assert body["accuracy_per_step"] == pytest.approx(curve.accuracy_per_step)
    for where in (run, run / "last.safetensors"):
        assert run_cli("evaluate", "--tasks", "2", "--weights", str(where)).returncode == 0
    sizes = run_cli(
        "evaluate", "--tasks", "2", "--shots", "2", "--queries", "4", "--steps", "1", "--json"
    )
    body = json.loads(sizes.stdout)
    assert (body["shots"], body["queries"], len(body["accuracy_per_step"])) == (2, 4, 2)


def test_an_annealed_run_keeps_its_length(npy: Path):
    arguments = ("train", "--data", str(npy), *SMALL, "--run-dir", "annealed")
    assert run_cli(*arguments, "--iterations", "4", "--first-order-until", "0.5").returncode == 0
    done = run_cli("train", "--resume", "annealed", "--iterations", "8")
    assert done.returncode == 2
    assert "the run has 4, and anneals its loss or order" in done.stderr


def nearest(queries: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The place of the image nearest to each query."""
    return (queries[:, None] - images[None]).square().flatten(2).sum(2).argmin(1)


def test_evaluate_in_both_modes_within_alphabets_and_beside_baselines(npy: Path):
    arguments = ("evaluate", "--tasks", "3", "--steps", "2")
    assert run_cli("train", "--data", str(npy), *SMALL, "--iterations", "3").returncode == 0
    printed = run_cli(*arguments, "--baselines")
    assert printed.returncode == 0, printed.stderr
    header = next(line for line in printed.stdout.splitlines() if line.startswith("step"))
    assert header.split() == ["step", *(["transductive", "95", "%", "interval", "loss"]),
                              *(["inductive", "95", "%", "interval", "loss"])]  # fmt: skip
    assert "nearest neighbour, pixels" in printed.stdout
    assert "class means, trained features, inductive" in printed.stdout
    body = json.loads(run_cli(*arguments, "--baselines", "--json").stdout)
    assert body["accuracy"] == body["transductive"]["accuracy"]
    assert body["batch_norm"] == "transductive"
    assert len(body["inductive"]["accuracy_per_step"]) == 3
    [run] = Path("runs").iterdir()
    tasks = Experiment.load(run / "best.safetensors", load_stack(npy)).tasks("test", seed=0)
    right = [
        task.support_labels[nearest(task.query, task.support)] == task.query_labels
        for task in (tasks[number] for number in range(3))
    ]
    found = body["baselines"]["nearest neighbour, pixels"]["accuracy"]
    assert found == pytest.approx(float(torch.cat(right).float().mean()))
    alone = json.loads(run_cli(*arguments, "--batch-norm", "inductive", "--json").stdout)
    assert (alone["batch_norm"], alone["inductive"]) == ("inductive", body["inductive"])
    assert alone["accuracy"] == body["inductive"]["accuracy"] and "transductive" not in alone
    within = run_cli(*arguments, "--within-alphabet")
    assert within.returncode == 3  # no sidecar, no alphabets
    assert "0 known alphabets" in within.stderr


@pytest.mark.real
def test_the_one_shot_runs_and_tasks_within_an_alphabet(real_source: Path, real_npy: Path):
    done = run_cli(
        "train", "--data", str(real_npy), "--split", "alphabets", "--ways", "20", "--iterations",
        "2", "--validation-tasks", "2", "--meta-batch-size", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = real_source / "one_shot_runs_01_10.zip"
    arguments = ("evaluate", "--protocol", "lake", "--runs", str(runs))
    printed = run_cli(*arguments)
    assert printed.returncode == 0, printed.stderr
    assert "run10" in printed.stdout and "mean" in printed.stdout
    body = json.loads(run_cli(*arguments, "--json").stdout)
    errors = body["inductive"]["error_per_run"]
    assert list(errors) == [f"run{number:02d}" for number in range(1, 11)]
    assert body["inductive"]["error"] == pytest.approx(sum(errors.values()) / 10)
    within = run_cli("evaluate", "--tasks", "2", "--within-alphabet")
    assert within.returncode == 0 and "within one alphabet" in within.stdout


def train_process(npy: Path, run: str, *more: str) -> Started:
    return start_cli("train", "--data", str(npy), *SMALL, "--run-dir", run, *more)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_resumes_bit_for_bit(npy: Path, number: signal.Signals):
    constant = ("--schedule", "constant", "--iterations")
    process = train_process(npy, "stopped", *constant, "100000")  # which ends by the signal alone
    process.wait_for("iteration 10/")
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    reached = load_checkpoint(Path("stopped/last.safetensors")).iteration
    assert 10 <= reached < 100_000
    if number != signal.SIGKILL:
        assert f"Stopped at iteration {reached}; go on with:" in rest
        assert "train --resume stopped" in rest

    more = str(reached + 7)
    resumed = run_cli("train", "--resume", "stopped", "--iterations", more)
    assert resumed.returncode == 0, resumed.stderr
    assert f"iterations {reached} to {more}" in resumed.stderr
    straight = Path("straight")
    done = run_cli("train", "--data", str(npy), *SMALL, *constant, more, "--run-dir", "straight")
    assert done.returncode == 0, done.stderr
    for name in ("last", "best"):
        one = load_checkpoint(straight / f"{name}.safetensors")
        two = load_checkpoint(Path(f"stopped/{name}.safetensors"))
        assert one.iteration == two.iteration
        assert {k: v.tolist() for k, v in one.weights.items()} == {
            k: v.tolist() for k, v in two.weights.items()
        }
    columns = ("iteration", "validation_accuracy", "validation_loss")
    rows = [[row[c] for c in columns] for row in read_rows(straight)]
    assert [[row[c] for c in columns] for row in read_rows(Path("stopped"))] == rows


def test_resume_options(npy: Path):
    done = run_cli("train", "--data", str(npy), *SMALL, "--iterations", "5")
    assert done.returncode == 0, done.stderr
    clash = run_cli("train", "--resume", "--inner-lr", "0.1")
    assert clash.returncode == 2
    assert "inner-lr 0.1: the run has 0.4; only --iterations" in clash.stderr
    longer = run_cli("train", "--resume", "--iterations", "10")  # the newest run
    assert longer.returncode == 0, longer.stderr
    assert "iterations 5 to 10" in longer.stderr
    further = run_cli("train", "--resume")  # the new length was noted
    assert "iterations 10 to 10" in further.stderr
    again = run_cli("train", "--resume", "nowhere")
    assert (again.returncode, "nowhere: holds no run" in again.stderr) == (6, True)
    np.save(npy, 255 - np.load(npy))
    other = run_cli("train", "--resume", "--iterations", "15")
    assert other.returncode == 6
    assert "cannot be resumed: the data" in other.stderr
    note = run_cli("evaluate", "--tasks", "2")
    assert note.returncode == 0
    assert "Note: the data" in note.stderr


def test_run_dir_is_not_overwritten(npy: Path):
    arguments = ("train", "--data", str(npy), *SMALL, "--iterations", "1", "--run-dir", "here")
    assert run_cli(*arguments).returncode == 0
    before = Path("here/last.safetensors").read_bytes()
    second = run_cli(*arguments)
    assert second.returncode == 6
    assert "holds a run already" in second.stderr
    assert Path("here/last.safetensors").read_bytes() == before


def test_a_run_killed_before_its_first_checkpoint_starts_anew(npy: Path):
    process = train_process(npy, "early", "--iterations", "100000", "--validation-every", "100000")
    process.wait_for("Training fc")
    process.kill()
    process.communicate(timeout=60)
    assert Path("early/config.json").is_file()
    assert not list(Path("early").glob("*.safetensors"))
    done = run_cli("train", "--resume", "early", "--iterations", "2")
    assert done.returncode == 0, done.stderr
    assert Path("early/best.safetensors").is_file()


def test_changed_split_file_is_noticed(npy: Path):
    names = [str(number) for number in range(60)]
    parts = {"train": names[:40], "validation": names[40:50], "test": names[50:]}
    Path("s.json").write_text(json.dumps(parts))
    arguments = ("train", "--data", str(npy), *SMALL, "--split", "s.json", "--iterations", "2")
    assert run_cli(*arguments).returncode == 0
    assert "Note" not in run_cli("evaluate", "--tasks", "2").stderr
    Path("s.json").write_text(json.dumps({**parts, "test": names[30:40], "train": names[:30]}))
    assert "other classes than at training" in run_cli("evaluate", "--tasks", "2").stderr
    resumed = run_cli("train", "--resume", "--iterations", "4")
    assert (resumed.returncode, "cannot be resumed: split" in resumed.stderr) == (6, True)


def test_time_limit(npy: Path):
    done = run_cli(
        "train", "--data", str(npy), *SMALL, "--iterations", "1000000", "--time-limit", "0.01"
    )
    assert done.returncode == 0, done.stderr
    assert "Time is up at iteration" in done.stdout
    assert load_checkpoint(next(Path("runs").glob("*/last.safetensors"))).iteration < 1_000_000
    assert run_cli("evaluate", "--tasks", "2").returncode == 0


def test_off_a_terminal_training_shows_life_before_its_first_validation(capsys, monkeypatch):
    monkeypatch.setattr("l2l_omniglot.cli.console.SECONDS_A_LINE", 0.0)
    open_console()
    watcher = TrainingProgress(100, 8)
    with watcher.watching(0):
        for iteration in (1, 2):
            watcher.on_step(StepResult(iteration, 1.5, 0.25))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # the second is due a minute later
    assert "iteration 1/100  loss 1.500, accuracy 25.0%" in lines[0]


def test_evaluating_a_run_without_validation_says_so(npy: Path, tmp_path: Path):
    run = tmp_path / "short"
    trained = run_cli(
        "train", "--data", str(npy), *SMALL, "--iterations", "1", "--run-dir", str(run)
    )
    assert trained.returncode == 0, trained.stderr
    (run / "best.safetensors").unlink()
    done = run_cli("evaluate", "--tasks", "2", "--weights", str(run))
    assert done.returncode == 0 and "no validation has had a finite" in done.stderr
    done = run_cli("evaluate", "--tasks", "2", "--weights", str(run / "last.safetensors"))
    assert done.returncode == 0 and "no validation" not in done.stderr


def test_offline_train_names_the_commands_that_help_and_trains_on_nothing_else(tmp_path: Path):
    done = run_cli("train", env={"L2L_OMNIGLOT_MIRROR": "http://127.0.0.1:9"})
    assert done.returncode == 4
    for said in (
        "No prepared Omniglot",
        "could not fetch http://127.0.0.1:9/images_background.zip",
        "l2l-omniglot prepare --source FOLDER",
        "l2l-omniglot train --data synthetic",
    ):
        assert said in done.stderr
    assert not (tmp_path / "runs").exists()


def test_train_prepares_what_the_variable_points_at(raw_archives: Path, tmp_path: Path):
    arguments = ("train", *SMALL, "--iterations", "1")
    done = run_cli(*arguments, env={"L2L_OMNIGLOT_SOURCE": str(raw_archives)})
    assert done.returncode == 0, done.stderr
    assert "preparing it now" in done.stderr
    assert "L2L_OMNIGLOT_SOURCE" in done.stderr
    assert (tmp_path / "cache" / "omniglot.npy").is_file()
    again = run_cli(*arguments)  # from the cache, without the variable
    assert again.returncode == 0, again.stderr
    assert "preparing" not in again.stderr


def test_prepare_writes_where_it_is_told(raw_archives: Path):
    done = run_cli(
        "prepare", "--source", str(raw_archives), "--out", "small.npy", "--image-size", "8"
    )
    assert done.returncode == 0, done.stderr
    assert np.load("small.npy").shape == (1623, 20, 1, 8, 8)
    assert json.loads(Path("small.json").read_text())["image_size"] == 8


def test_backbones_lists_names_and_packages():
    done = run_cli("backbones")
    assert done.returncode == 0
    for name in ("basenet", "cnn4", "fc"):
        assert f"{name} " in done.stdout
    assert "l2l-omniglot" in done.stdout


def test_a_broken_plugin_is_reported_and_breaks_nothing(tmp_path: Path, npy: Path):
    info = tmp_path / "site" / "broken_nets-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-nets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[l2l_omniglot.backbones]\nbad = broken_nets:net\n")
    env = {"PYTHONPATH": os.pathsep.join(["site", os.environ.get("PYTHONPATH", "")])}
    listed = run_cli("backbones", env=env)
    assert (listed.returncode, listed.stderr) == (0, "")  # listing imports none
    assert "basenet" in listed.stdout and "broken-nets 1.0" in listed.stdout
    checked = run_cli("check-backbone", "bad", env=env)
    assert checked.returncode == 5
    assert "there is no module 'broken_nets'" in checked.stdout
    trained = run_cli("train", "--data", str(npy), *SMALL, "--iterations", "1", env=env)
    assert trained.returncode == 0, trained.stderr


@pytest.mark.real
def test_real_omniglot_from_the_archives_to_a_figure(real_source: Path):
    """The two commands of the mission, shortened: prepared by the way, trained, evaluated."""
    env = {"L2L_OMNIGLOT_SOURCE": str(real_source)}
    done = run_cli(
        "train", "--ways", "5", "--shots", "1", "--iterations", "100", "--inner-lr", "0.4",
        "--validation-every", "100", "--validation-tasks", "20", "--eval-steps", "1", env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    body = json.loads(run_cli("evaluate", "--tasks", "60", "--json").stdout)
    assert (body["data"], body["split"]) == ("omniglot", "tutorial")
    # Pixels alone give about 43 %.
    assert body["accuracy"] - body["ci95"] > 0.5


@pytest.mark.real
def test_real_omniglot_with_the_vinyals_split(real_source: Path, real_npy: Path):
    done = run_cli(
        "train", "--data", str(real_npy), "--split", str(real_source / "vinyals_split.json"),
        *SMALL, "--iterations", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert run_cli("evaluate", "--tasks", "2").returncode == 0
