"""Completion in real shells on a real terminal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from terminal import Terminal

from l2l_omniglot.backbones.registry import backbone_names
from l2l_omniglot.cli.options import COMPLETED, completing
from l2l_omniglot.data import NAMED_SPLITS
from l2l_omniglot.experiments.weights import pretrained_names

WEIGHTS = max(pretrained_names(), key=len)  # no other name begins like it


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Where `l2l-omniglot` is this package, and nobody's own shell settings are."""
    program = tmp_path / "bin" / "l2l-omniglot"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m l2l_omniglot "$@"\n')
    program.chmod(0o755)
    home = {name: str(tmp_path) for name in ("HOME", "ZDOTDIR", "XDG_CONFIG_HOME")}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **home, "PATH": path, "TERM": "xterm", "PS1": "ready> "}


INSTALL = 'eval "$(_L2L_OMNIGLOT_COMPLETE={}_source l2l-omniglot)"'
SHELLS = [
    pytest.param(
        ["bash", "--norc", "-i"],
        INSTALL.format("bash"),
        id="bash",
    ),
    pytest.param(
        ["zsh", "-f", "-i"],
        "autoload -U compinit; compinit -u -D; " + INSTALL.format("zsh"),
        marks=needs("zsh"),
        id="zsh",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "install"), SHELLS)
def test_the_tab_key_completes_commands_options_and_names(
    command: list[str], install: str, env: dict[str, str], tmp_path: Path
):
    (tmp_path / "runs" / "20260101-mine").mkdir(parents=True)
    (tmp_path / "runs" / "20260101-mine" / "config.json").write_text("{}")
    with Terminal(command, env, width=400) as shell:  # for all that is typed on one line
        shell.wait_for("ready> ")
        shell.type(f"{install}; echo in''stalled\n")
        shell.wait_for("installed")
        for typed, completed in (
            ("l2l-omniglot tra\t", "train "),
            ("--meta-b\t", "--meta-batch-size "),
            ("3 --backbone ba\t", "basenet "),
            ("--recipe tu\t", "tutorial "),
            ("--algorithm an\t", "anil "),
            (f"--start-from {WEIGHTS[:-1]}\t", f"{WEIGHTS} "),
            ("--split al\t", "alphabets "),
            ("--data sy\t", "synthetic "),
            ("--resume runs/2026\t", "runs/20260101-mine "),
        ):
            shell.type(typed)
            shell.wait_for(completed)


@needs("fish")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("l2l-omniglot eval", ["evaluate"]),
        (f"l2l-omniglot evaluate --weights {WEIGHTS[:-1]}", [WEIGHTS]),
        ("l2l-omniglot train --backbone ", sorted(backbone_names())),
        ("l2l-omniglot train --recipe t", ["tutorial"]),
    ],
)
def test_fish_completes(line: str, completed: list[str], env: dict[str, str]):
    script = (
        f"_L2L_OMNIGLOT_COMPLETE=fish_source l2l-omniglot | source; complete --do-complete '{line}'"
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=env, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = [entry.split("\t")[0] for entry in done.stdout.splitlines()]
    assert sorted(found) == completed  # fish lists 8 before 12


def test_completing_imports_no_torch():
    code = (
        "import sys; from l2l_omniglot.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'learn2learn', 'numpy') if m in sys.modules])"
    )
    for word in ("--backbone", "--start-from", "--split", "--data", "--resume", "--recipe"):
        variables = {
            "_L2L_OMNIGLOT_COMPLETE": "bash_complete",
            "COMP_WORDS": f"l2l-omniglot train {word} ",
            "COMP_CWORD": "3",
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **variables},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.startswith(("plain,", "file,")) and done.stdout.endswith("[]\n"), word


def test_what_is_completed_is_what_there_is():
    assert tuple(COMPLETED["split"]()) == NAMED_SPLITS
    assert COMPLETED["backbone"]() == backbone_names()


def test_the_last_of_several_names_is_completed():
    complete = completing(lambda: ("5w1s", "5w5s", "20w1s"))
    context, option = click.Context(click.Command("c")), click.Option(["--settings"])
    for word, found in (("5w", ["5w1s", "5w5s"]), ("5w1s,5", ["5w1s,5w5s"]), ("x", ["x"])):
        assert [item.value for item in complete(context, option, word)] == found
