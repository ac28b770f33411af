"""Event files, read back by TensorBoard's own reader."""

import csv
import dataclasses
import math
import os
import warnings
from pathlib import Path

import pytest
from conftest import run_cli

from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.tensorboard import EventWriter, has_events

TRAIN = (
    "train", "--data", "synthetic", "--backbone", "fc", "--ways", "3", "--queries", "3",
    "--meta-batch-size", "2", "--validation-every", "2", "--validation-tasks", "2",
    "--schedule", "constant",
)  # fmt: skip
COLUMNS = {
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "validation_accuracy",
    "training/meta_lr": "meta_lr",
    "training/tasks_per_second": "tasks_per_second",
}


def events(folder: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that TensorBoard imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        found.Reload()
    return found


def scalars(folder: Path, tag: str) -> dict[int, float]:
    found = events(folder).Scalars(tag)
    steps = [event.step for event in found]
    assert steps == sorted(set(steps)), f"{tag}: steps {steps} are doubled"
    return {event.step: event.value for event in found}


def metrics(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return {int(row["iteration"]): row for row in csv.DictReader(file)}


def check(folder: Path, steps: list[int]) -> None:
    """The events are the lines of metrics.csv, of which slow updates have one each."""
    lines = metrics(folder)
    rows = {step: row for step, row in lines.items() if row["validation_accuracy"]}
    assert list(rows) == steps
    for tag, column in COLUMNS.items():
        expected = {step: float(row[column]) for step, row in lines.items() if row[column]}
        assert scalars(folder, tag) == pytest.approx(expected, rel=1e-6)
    lower, upper = (scalars(folder, f"accuracy/validation_{end}") for end in ("lower", "upper"))
    for step, row in rows.items():
        half = float(row["validation_ci95"])
        assert upper[step] - lower[step] == pytest.approx(2 * half, abs=1e-6)


def test_a_run_resumed_and_resumed_again_has_every_validation_once(tmp_path: Path):
    run = tmp_path / "run"
    done = run_cli(*TRAIN, "--iterations", "4", "--run-dir", str(run), "--tensorboard")
    assert done.returncode == 0, done.stderr
    check(run, [2, 4])
    # As if it had been killed in the middle: iteration 4 was noted, but is to be made again.
    header, *lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if int(line.split(",")[0]) <= 2]
    (run / "metrics.csv").write_text("".join([header, *kept]))
    done = run_cli("train", "--resume", str(run), "--iterations", "6")  # goes on by itself
    assert done.returncode == 0, done.stderr
    assert list(scalars(run, "accuracy/validation")) == [2, 6]
    done = run_cli("train", "--resume", str(run), "--iterations", "8", "--tensorboard")
    assert done.returncode == 0, done.stderr
    check(run, [2, 6, 8])


def test_settings_are_text_and_hyperparameters(tmp_path: Path):
    settings = make_settings(inner_lr=0.125, data="synthetic")
    with EventWriter(tmp_path, settings, []):
        pass
    found = events(tmp_path)
    [text] = found.Tensors("settings/text_summary")
    assert "| inner lr | `0.125` |" in text.tensor_proto.string_val[0].decode()
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(found.summary_metadata)
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"inner_lr" in content and b"synthetic" in content


def row(iteration: int, accuracy: float = 0.5) -> MetricsRow:
    return MetricsRow(iteration, 1.0, 2.0, 0.25, 3.0, accuracy, 0.125, 10.0, 1e-3)


def test_a_run_that_had_no_events_gets_those_of_its_past(tmp_path: Path):
    with EventWriter(tmp_path, make_settings(), [row(5), row(10)]) as writer:
        writer.on_validation(row(15), best=True)
    assert list(scalars(tmp_path, "loss/train")) == [5, 10, 15]


def test_lines_without_a_validation_are_points_of_the_training_alone(tmp_path: Path):
    between = dataclasses.replace(
        row(7), validation_loss=math.nan, validation_accuracy=math.nan, validation_ci95=math.nan
    )
    with EventWriter(tmp_path, make_settings(), [row(5), between]) as writer:
        writer.on_log(dataclasses.replace(between, iteration=9))
        writer.on_validation(row(10), best=True)
    for tag in COLUMNS:
        steps = [5, 10] if "validation" in tag else [5, 7, 9, 10]
        assert list(scalars(tmp_path, tag)) == steps, tag


def test_events_after_the_checkpoint_are_taken_back(tmp_path: Path):
    settings = make_settings()
    with EventWriter(tmp_path, settings, []) as writer:
        for iteration in (5, 10, 15):
            writer.on_validation(row(iteration, 0.25), best=True)
    with EventWriter(tmp_path, settings, [row(5, 0.25), row(10, 0.75)]) as writer:
        writer.on_validation(row(15, 1.0), best=True)
    assert scalars(tmp_path, "accuracy/validation") == {5: 0.25, 10: 0.75, 15: 1.0}
    assert len(events(tmp_path).Tensors("settings/text_summary")) == 1
    with EventWriter(tmp_path, settings, []) as writer:  # killed before its first checkpoint
        writer.on_validation(row(5, 0.5), best=True)
    assert scalars(tmp_path, "accuracy/validation") == {5: 0.5}


def test_without_the_package_one_sentence_before_anything_is_done(tmp_path: Path):
    broken = tmp_path / "broken" / "tensorboard"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])
    done = run_cli(*TRAIN, "--run-dir", "run", "--tensorboard", env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: --tensorboard needs tensorboard: pip install 'l2l-omniglot[tensorboard]'\n"
    )
    assert not Path("run").exists()
    without = run_cli(*TRAIN, "--run-dir", "run", "--iterations", "2", env={"PYTHONPATH": path})
    assert without.returncode == 0, without.stderr
    assert not has_events(Path("run"))
