"""A minute of the soak: every kind of injury once, in real processes that are really killed."""

import os
import random
from pathlib import Path

import pytest
import soak

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("soak")]

# As many checkpoints as the soak's own trainings have, in fewer iterations.
SHORT = ["--iterations", "24", "--validation-every", "2"]


def test_every_injury_is_survived(monkeypatch: pytest.MonkeyPatch):
    for name in ("TRAIN", "SHARED"):
        monkeypatch.setattr(soak, name, [*getattr(soak, name), *SHORT])
    plan = soak.plan_of(kills=4, others=1, seed=3)
    done = soak.soak(plan, seed=3)
    expected = soak.KILLS | soak.OTHERS | (soak.AS_ROOT if os.geteuid() == 0 else {})
    assert set(done) == set(expected)
    assert sum(done.values()) == len(plan)


def test_a_loss_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trial = soak.Trial(tmp_path, random.Random(0), 0.0, {"weight": b"as it should be"})
    monkeypatch.setattr(soak, "weights", lambda _run: {"weight": b"other"})
    with pytest.raises(soak.FaultError, match="another end"):
        trial.compare()
    monkeypatch.setattr(soak, "weights", lambda _run: {})
    with pytest.raises(soak.FaultError, match="other weights"):
        trial.compare()
