"""Lines of metrics between validations: when there is one, what it says, and that files have it."""

import math
from pathlib import Path

import pytest
from tiny import Silent

from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.experiments import metrics
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.metrics import Meter, MetricsRow, read_rows, write_rows
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.meta.trainer import StepResult

NAN = (math.nan, math.nan, math.nan)


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(metrics, "time", own)
    return own


def updates(meter: Meter, clock: Clock, seconds: float, *losses: float) -> None:
    """Updates that take so long each."""
    for loss in losses:
        clock.now += seconds
        meter.add(StepResult(1, loss, loss / 10))


def test_a_line_is_due_after_a_second_and_later_after_a_hundredth_of_the_time(clock: Clock):
    meter = Meter(8)
    updates(meter, clock, 0.5, 1.0)
    assert not meter.is_due(0.01)
    updates(meter, clock, 0.5, 3.0)
    assert meter.is_due(0.01)
    assert meter.is_due(100 / 60) and not meter.is_due(101 / 60)
    assert meter.take(0.01) == (2.0, 0.2, 16.0)
    clock.now += 100  # a validation
    meter.go_on()
    updates(meter, clock, 0.75, 5.0)
    assert not meter.is_due(0.01)
    assert meter.take(0.01) == (5.0, 0.5, 8 / 0.75)


def test_a_line_that_comes_early_has_the_span_before_in_it(clock: Clock):
    meter = Meter(1)
    updates(meter, clock, 0.5, 1.0, 2.0)
    meter.take(0.01)
    updates(meter, clock, 0.25, 9.0)
    assert meter.take(0.01) == (4.0, pytest.approx(0.4), 3 / 1.25)
    updates(meter, clock, 1.0, 7.0)
    assert meter.take(0.01)[0] == 7.0  # the one before counts once at most


def test_lines_without_a_validation_have_empty_cells(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    rows = [
        MetricsRow(5, 0.1, 1.5, 0.5, *NAN, 40.0, 1e-3),
        MetricsRow(10, 0.2, 1.25, 0.5, math.nan, 0.25, 0.125, 40.0, 1e-3),  # diverged
        MetricsRow(15, 0.3, 1.25, 0.5, 1.5, 0.25, 0.125, 40.0, 1e-3),
    ]
    write_rows(path, rows)
    lines = path.read_text().splitlines()
    assert lines[1] == "5,0.1,1.5,0.5,,,,40.0,0.001" and ",nan,0.25," in lines[2]
    found = read_rows(path)
    assert [row.validated for row in found] == [False, True, True]
    assert repr(found) == repr(rows)
    path.write_text("\n".join(lines)[:-3])  # killed while it wrote
    assert [row.iteration for row in read_rows(path)][:2] == [5, 10]


class Watcher(Silent):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def on_step(self, result: StepResult) -> None:
        self.seen.append(("stepped", result.iteration))

    def on_log(self, row: MetricsRow) -> None:
        assert not row.validated and row.train_loss > 0
        self.seen.append(("measured", row.iteration))

    def on_validation(self, row: MetricsRow, best: bool) -> None:
        assert row.validated
        self.seen.append(("validated", row.iteration))


def test_an_observer_hears_of_every_update_line_and_validation(
    stack: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metrics, "_least", lambda _minutes: 0.0)
    settings = make_settings(
        ways=3, queries=4, backbone="fc", meta_batch_size=2, validation_tasks=3,
        validation_every=2, iterations=3,
    )  # fmt: skip
    watcher = Watcher()
    run = TrainingRun(Experiment.build(settings, stack), RunFolder(tmp_path / "run"), watcher)
    run.begin(resume=False)
    run.train()
    assert watcher.seen == [
        ("stepped", 1), ("measured", 1), ("stepped", 2), ("validated", 2), ("stepped", 3),
        ("validated", 3),
    ]  # fmt: skip
    assert [row.validated for row in run.folder.read_metrics()] == [False, True, True]


def test_two_hundred_updates_make_a_curve_that_costs_next_to_nothing(tmp_path: Path, clock: Clock):
    """Ten milliseconds an update, and a file that is as long as after a day."""
    meter, rows = Meter(8), 0
    for _ in range(1000):
        updates(meter, clock, 0.01, 1.0)
        if meter.is_due(clock.now / 60):
            meter.take(clock.now / 60)
            rows += 1
    assert rows in {9, 10}  # as the hundredths add up
    long = [MetricsRow(i, 0.1, 1.5, 0.5, *NAN, 40.0, 1e-3) for i in range(1000)]
    write_rows(tmp_path / "metrics.csv", long)
    assert (tmp_path / "metrics.csv").stat().st_size < 100_000  # to be written every ten seconds
