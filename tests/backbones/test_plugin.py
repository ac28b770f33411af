"""The example plugin: its wheel, in an environment of its own, under the real command line."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from processes import DRAWN, client, served
from processes import run as forked

from l2l_omniglot.experiments.checkpoint import load_checkpoint

# Built once, by one worker; the interpreters that it is installed for are new processes.
wheels = pytest.mark.xdist_group("wheel")
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples/l2l-omniglot-resnet"
SHORT = "--iterations 3 --meta-batch-size 2 --validation-every 3 --validation-tasks 2"
SHIM = """#!/usr/bin/env bash
case "$1" in train) extra="{short}" ;; evaluate) extra="--tasks 2" ;; esac
PYTHONPATH={installed} exec {fork} -m l2l_omniglot "$@" $extra
"""


def run(command: list[str], folder: Path, **env: str) -> str:
    """The standard output of a command, which has to succeed."""
    # pip takes setuptools from here, and torch is here: nothing is fetched.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), **offline, **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Environment(NamedTuple):
    """Its interpreter, and where packages are installed."""

    python: Path
    packages: Path

    def cli(self, folder: Path, *arguments: str) -> str:
        """What the command line prints, in a process that finds these packages beside the rest."""
        env = {**os.environ, "PYTHONPATH": str(self.packages)}
        done = forked(["-m", "l2l_omniglot", *arguments], env, folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def fresh_environment(folder: Path) -> Environment:
    """An environment that sees the packages of this one, torch and all."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run([str(python), "-c", code], folder).strip())
    there = sysconfig.get_path("purelib")
    (packages / "around.pth").write_text(f"import site; site.addsitedir({there!r})\n")
    return Environment(python, packages)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(SOURCE, folder / "source")  # building leaves its folders there
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "-w", ".", "./source"], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One with the plugin installed from its wheel."""
    folder = tmp_path_factory.mktemp("environment")
    made = fresh_environment(folder)
    run([str(made.python), "-m", "pip", "install", "--quiet", str(wheel)], folder)
    return made


@pytest.mark.slow
@wheels
def test_the_wheel_is_installed_there_and_not_here(environment: Environment, tmp_path: Path):
    code = "import l2l_omniglot_resnet as plugin; print(plugin.__file__)"
    python = str(environment.python)
    assert environment.packages in Path(run([python, "-c", code], tmp_path)).parents
    listed = run([python, "-m", "l2l_omniglot", "backbones"], tmp_path)
    assert listed == environment.cli(tmp_path, "backbones")
    assert re.search(
        r"^resnet +l2l-omniglot-resnet 0\.1\.0 +l2l_omniglot_resnet:resnet$", listed, re.M
    )
    here = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "No module named 'l2l_omniglot_resnet'" in here.stderr


@pytest.mark.slow
@wheels
def test_it_keeps_the_contract(environment: Environment, tmp_path: Path):
    checked = environment.cli(tmp_path, "check-backbone", "resnet", "--json")
    outcomes = {found["check"]: found["outcome"] for found in json.loads(checked)["findings"]}
    assert set(outcomes.values()) == {"passed"} and len(outcomes) > 5


@pytest.mark.slow
@wheels
def test_it_trains_and_is_evaluated(environment: Environment, npy: Path, tmp_path: Path):
    train = f"train --backbone resnet --data {npy} --run-dir run {SHORT}"
    environment.cli(tmp_path, *train.split())
    checkpoint = load_checkpoint(tmp_path / "run/best.safetensors")
    assert (checkpoint.settings.backbone, checkpoint.iteration) == ("resnet", 3)
    evaluate = "evaluate --weights run --tasks 4 --json"
    found = json.loads(environment.cli(tmp_path, *evaluate.split()))
    assert found["tasks"] == 4
    for mode in ("transductive", "inductive"):
        before, *_, after = found[mode]["loss_per_step"]
        assert before == pytest.approx(math.log(5), abs=0.1)  # it knows nothing of the classes
        assert after < before and found[mode]["accuracy"] > 0.3, found[mode]


@pytest.mark.slow
@wheels
def test_its_readme_runs_as_it_stands(tmp_path: Path):
    made = fresh_environment(tmp_path / "environment")
    programs = tmp_path / "bin"
    programs.mkdir()
    fork = client(tmp_path / "door")
    shim = SHIM.format(installed=made.packages, fork=fork, short=SHORT)
    (programs / "l2l-omniglot").write_text(shim)
    (programs / "l2l-omniglot").chmod(0o755)
    shutil.copytree(SOURCE, tmp_path / "examples" / SOURCE.name)
    path = os.pathsep.join([str(programs), str(made.python.parent), os.environ["PATH"]])
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    with served(tmp_path / "door"):
        for block in blocks:
            command = ["bash", "-euo", "pipefail", "-c", block]
            run(command, tmp_path, PATH=path, L2L_OMNIGLOT_CACHE=str(DRAWN))


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 84), (2, (16, 40)), (1, 5)])
@pytest.mark.parametrize("ways", [2, 20])
def test_any_images_and_ways(monkeypatch: pytest.MonkeyPatch, channels, size, ways):
    monkeypatch.syspath_prepend(SOURCE)
    from l2l_omniglot_resnet import resnet

    network = resnet(ways=ways, channels=channels, image_size=size, init="zero")
    height, width = (size, size) if isinstance(size, int) else size
    logits = network(torch.rand(3, channels, height, width))
    assert logits.shape == (3, ways)


def test_the_readme_tells_its_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(SOURCE)
    from l2l_omniglot_resnet import resnet

    count = sum(p.numel() for p in resnet(ways=5, channels=1, image_size=28).parameters())
    assert f"{count:,} parameters" in (SOURCE / "README.md").read_text(encoding="utf-8")
