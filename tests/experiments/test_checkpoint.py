import contextlib
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from l2l_omniglot._util.files import atomic_write
from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.checkpoint import Checkpoint, load_checkpoint, read_checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.learners import read_weights, write_weights
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.runs import newest_run
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.weights import newest_file, weights_file


@pytest.mark.parametrize("name", ["basenet", "cnn4", "fc"])
def test_round_trip(name: str, tmp_path: Path):
    settings = make_settings(backbone=name)
    network, twin = (make_backbone(name, ways=5) for _ in range(2))
    torch.nn.init.normal_(next(network.parameters()))
    Checkpoint(
        settings, 12, read_weights(network), {"0.step": torch.tensor(3.0)}, {"data_sha256": "x"}
    ).save(tmp_path / "c.safetensors")
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert (loaded.settings, loaded.iteration) == (settings, 12)
    assert loaded.facts == {"data_sha256": "x"}
    assert loaded.optimizer == {"0.step": torch.tensor(3.0)}
    write_weights(twin, loaded.weights, "c")
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_that_do_not_fit_are_refused():
    weights = read_weights(BaseNet(ways=5))
    with pytest.raises(RunError, match=r"c: 'linear\.weight' has shape \(5, 64\); .* \(7, 64\)"):
        write_weights(BaseNet(ways=7), weights, "c")
    with pytest.raises(RunError, match="do not fit the backbone; .* is only in the"):
        write_weights(make_backbone("cnn4", ways=5), weights, "c")


def test_broken_files(tmp_path: Path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(RunError, match="no such checkpoint"):
        load_checkpoint(path)
    for content in (b"", b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(RunError, match="not a readable checkpoint"):
            load_checkpoint(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(RunError, match="'no format'; expected 'l2l-omniglot checkpoint 1'"):
        load_checkpoint(path)
    Checkpoint(make_settings(), 1, read_weights(BaseNet())).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_atomic_write_keeps_the_old_file_when_writing_fails(tmp_path: Path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_metrics_survive_a_line_cut_off(tmp_path: Path):
    folder = RunFolder(tmp_path)
    assert folder.read_metrics() == []
    rows = [MetricsRow(i, 0.1, 1.5, 0.5, 1.25, 0.625, 0.01, 40.0, 1e-3) for i in (10, 20)]
    folder.write_metrics(rows)
    assert folder.read_metrics() == rows
    with folder.metrics.open("a") as file:
        file.write("30,0.2,1.")
    assert folder.read_metrics() == rows


def test_run_folder_is_never_overwritten(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    folder.create(make_settings(seed=3), {})
    assert folder.read_settings() == make_settings(seed=3)
    with pytest.raises(RunError, match="holds a run already; continue it with"):
        folder.create(make_settings(), {})
    with pytest.raises(RunError, match="holds no run"):
        RunFolder(tmp_path / "other").read_settings()
    folder.config.write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        folder.read_settings()
    folder.config.write_text('{"facts": {}}')
    with pytest.raises(RunError, match="cannot be read: there is no entry 'settings'"):
        folder.read_settings()


def test_newest_run_and_its_best_checkpoint(tmp_path: Path):
    with pytest.raises(RunError, match="no run found"):
        newest_run()
    for age, name in ((30, "a"), (10, "b"), (20, "c")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "last.safetensors").touch()
        moment = time.time() - age
        os.utime(folder / "last.safetensors", (moment, moment))
    assert newest_run().path.name == "b"
    assert newest_file().name == "last.safetensors"
    (tmp_path / "runs" / "b" / "best.safetensors").touch()
    assert newest_file().name == "best.safetensors"
    assert weights_file(Path("runs/a")) == Path("runs/a/last.safetensors")
    assert weights_file(Path("runs/a/last.safetensors")).is_file()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no checkpoint yet; expected the folder"):
        weights_file(Path("empty"))


def test_atomic_write_follows_links_keeps_modes_and_writes_into_what_is_no_file(tmp_path: Path):
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(pipe) as file:
        file.write(b"through")
    assert os.read(reader, 10) == b"through" and pipe.is_fifo()
    os.close(reader)


def test_a_failure_to_write_names_the_file():
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        atomic_write(Path("/dev/full")) as file,
    ):
        file.write(b"x" * 100_000)


def test_any_flipped_bit_is_noticed(tmp_path: Path):
    """In weights as in the header; white space between them may change."""
    network = make_backbone("fc", ways=2)
    whole = Checkpoint(make_settings(ways=2, backbone="fc"), 3, read_weights(network)).to_bytes()
    expected, random = read_checkpoint(whole, "x"), np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(whole[:8], "little"))
    places = [*random.choice(header, 150, replace=False)]
    places += [*random.integers(header, 8 * len(whole), 50)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        with contextlib.suppress(RunError):
            found = read_checkpoint(bytes(damaged), "x")
            assert (found.settings, found.iteration) == (expected.settings, expected.iteration)
            assert all(torch.equal(found.weights[n], w) for n, w in expected.weights.items())
            assert place < header


def test_the_bias_that_a_shared_head_once_trained_is_dropped(stack: ImageStack):
    """It was the last trained parameter; the optimiser and the average had its number."""
    settings = make_settings(
        head="shared", average_weights=0.9, meta_batch_size=1, inner_steps=1, iterations=2
    )
    experiment = Experiment.build(settings, stack)
    trainer = experiment.trainer()
    trainer.step()
    now = experiment.checkpoint(trainer, experiment.facts(), resumable=True)
    number, nothing = len(experiment.learner.trained), torch.zeros(())
    added = {
        f"{number}.{key}": nothing.clone() for key in ("step", "exp_avg", "exp_avg_sq", "average")
    }
    old = dataclasses.replace(
        now, head=now.head | {"bias": nothing}, optimizer=now.optimizer | added
    )
    loaded = read_checkpoint(old.to_bytes(), "memory")
    assert set(loaded.head) == {"weight"} and loaded.optimizer.keys() == now.optimizer.keys()
    again = Experiment.load(loaded, stack)
    resumed = again.trainer()
    resumed.restore(loaded.iteration, loaded.optimizer)
    resumed.step()
    trainer.step()
    pairs = zip(experiment.learner.trained, again.learner.trained, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    fewer = read_checkpoint(dataclasses.replace(old, optimizer={}).to_bytes(), "memory")
    assert set(fewer.head) == {"weight"} and not fewer.optimizer
