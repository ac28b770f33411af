"""The network: none at import, none with --offline. A process each, whose sockets are closed."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run_cli

WITHOUT = """
import socket
def refuse(*arguments, **named):
    raise AssertionError("the network was used")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


def test_importing_all_of_it_uses_no_network():
    names = [
        path.relative_to(Path(__file__).parents[1]).with_suffix("").as_posix().replace("/", ".")
        for path in (Path(__file__).parents[1] / "l2l_omniglot").rglob("*.py")
        if path.name != "__main__.py"
    ]
    lines = "\n".join(f"import {name.removesuffix('.__init__')}" for name in names)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + lines], capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words", [["prepare", "--offline"], ["train", "--offline"], ["prepare"]], ids=" ".join
)
def test_offline_says_what_would_have_been_downloaded(words: list[str], tmp_path: Path):
    env = {"L2L_OMNIGLOT_CACHE": str(tmp_path / "cache"), "L2L_OMNIGLOT_SOURCE": ""}
    if "--offline" not in words:
        env["L2L_OMNIGLOT_OFFLINE"] = "1"
    done = run_cli(*words, env=env)
    assert done.returncode == 4
    assert "images_background.zip: not downloaded, because of --offline" in done.stderr
    assert not list(tmp_path.rglob("*.zip")) and not list(tmp_path.rglob("*.npy"))


def test_a_train_on_built_in_characters_needs_no_network(tmp_path: Path):
    words = [
        "train", "--offline", "--data", "synthetic", "--backbone", "fc", "--iterations", "1",
        "--queries", "2", "--meta-batch-size", "1", "--validation-tasks", "2",
    ]  # fmt: skip
    code = f"import sys\nsys.argv = ['l2l-omniglot', *{words!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code + "from l2l_omniglot.cli import main\nmain()"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
