"""Every option of every command with twelve kinds of wrong value, from the declarations themselves.

A new option is covered without being named. By default each option meets the next kind in turn;
with FULL_MATRIX set, all of them (`make matrix`, minutes). A value may well be right for an option:
then the command does its work. What must never happen is a traceback, an "unexpected" error, more
than one sentence, an undocumented exit code, or anything changed by a command that failed. The
values are in processes, as a shell passes them.
"""

import os
import signal
import time
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import run_cli
from PIL import Image
from processes import start_cli

from l2l_omniglot.cli import cli
from l2l_omniglot.cli.config import commands

FULL = "FULL_MATRIX"
SECONDS = 5
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 9}
KINDS = {
    "empty": "",
    "word": "nonsense",
    "negative": "-1",
    "zero": "0",
    "nan": "nan",
    "infinite": "1e400",
    "huge": "99999999999999999999",
    "enormous": "1e300",
    "control": "\x1b[31m\x07red\r",
    "undecodable": b"caf\xe9".decode(errors="surrogateescape"),
    "long": "x" * 5000,
    "endless": "/dev/zero",
}
# What a command needs beside the option, so that it comes as far as the option's value; small.
SMALL = ["--data", "own.npy", "--queries", "2"]
TRAIN = [*SMALL, "--iterations", "1", "--meta-batch-size", "1", "--validation-tasks", "2"]
BASES: dict[str, list[str]] = {
    "train": [*TRAIN, "--validation-every", "1", "--backbone", "fc"],
    "evaluate": ["--weights", "fomaml", *SMALL, "--tasks", "2", "--ways", "3"],
    "predict": ["support", "support"],
    "draw": ["--no-browser", "--port", "0"],
    "report": ["--weights", "fomaml", "--data", "synthetic", "--queries", "2", "--tasks", "2"],
    "reproduce": [
        "--settings",
        "5w1s",
        "--data",
        "own.npy",
        "--backbones",
        "fc",
        "--iterations",
        "1",
        "--tasks",
        "2",
    ],
    "tune": [*TRAIN, "--validation-every", "1", "--backbone", "fc", "--trials", "1"],
    "export": ["support", "--out", "a.pt2"],
    "prepare": ["--classes", "support", "--out", "letters.npy"],
    "show data": ["--data", "own.npy"],
    "show task": ["0", "--data", "own.npy", "--queries", "2"],
    "check-backbone": ["fc"],
}
LONG_WORK = {"draw"}  # listens until it is stopped


def options() -> list[tuple[str, str]]:
    """Every command with every option that takes a value, and every argument as ``<name>``."""
    found = []
    for name, command in commands(cli).items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                found.append((name, parameter.opts[0]))
            elif isinstance(parameter, click.Argument):
                found.append((name, f"<{parameter.name}>"))
    return found


def cases() -> list[tuple[str, str, str]]:
    kinds, full = list(KINDS), os.environ.get(FULL)
    return [
        (command, option, kind)
        for number, (command, option) in enumerate(options())
        for kind in (kinds if full else [kinds[number % len(kinds)]])
    ]


def arguments(command: str, option: str, value: str) -> list[str]:
    words, base = command.split(), list(BASES.get(command, []))
    if option.startswith("<"):
        return [*words, *base[1:], "--", value] if base else [*words, "--", value]
    return [*words, *base, f"{option}={value}"]


@pytest.fixture(scope="module", autouse=True)
def _process_to_fork_from() -> None:
    """Takes seconds to start, which are no command's."""
    run_cli("--version")


@pytest.fixture
def files(npy: Path, tmp_path: Path) -> dict[str, bytes]:
    (tmp_path / "own.npy").write_bytes(npy.read_bytes())
    for name in ("a", "b"):
        (tmp_path / "support" / name).mkdir(parents=True)
        picture = np.full((30, 30), 255, np.uint8)
        picture[5:25, 10 + 5 * (name == "b")] = 0
        Image.fromarray(picture).save(tmp_path / "support" / name / "1.png")
    return listing(tmp_path)


def listing(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths}


def test_the_kinds_are_twelve_and_all_options_are_met():
    assert len(KINDS) == 12
    assert len({case[:2] for case in cases()}) == len(options()) > 150
    assert set(BASES) <= set(commands(cli))


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({*BASES} - LONG_WORK))
def test_without_a_wrong_value_it_works(files: dict[str, bytes], tmp_path: Path, command: str):
    done = run_cli(*command.split(), *BASES[command], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # a process each: what a value does to a whole command is at stake
@pytest.mark.parametrize(("command", "option", "kind"), cases())
def test_a_wrong_value_does_no_harm(
    files: dict[str, bytes], tmp_path: Path, command: str, option: str, kind: str
):
    words = arguments(command, option, KINDS[kind])
    start = time.monotonic()
    if command in LONG_WORK:
        code, errors = stopped(words)
    else:
        done = run_cli(*words, cwd=tmp_path)
        code, errors = done.returncode, done.stderr
    took = time.monotonic() - start
    assert code in DOCUMENTED, errors
    assert "Traceback" not in errors and "unexpected" not in errors, errors
    assert not {"\x1b", "\x07", "\r"} & set(errors)
    if code in {0, 9}:
        return
    assert took < SECONDS
    lines = errors.splitlines()
    assert sum(line.startswith("Error: ") for line in lines) == 1, errors
    assert len(errors) < 20_000
    after = listing(tmp_path)
    assert {path: after.get(path) for path in files} == files
    assert set(after) == set(files), "left behind"


def stopped(words: list[str]) -> tuple[int, str]:
    """Runs a command that may go on for ever, and stops it as Ctrl-C does."""
    process = start_cli(*words)
    assert process.stdout
    listens = process.stdout.readline()
    if listens:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return 0 if listens else process.returncode, errors
