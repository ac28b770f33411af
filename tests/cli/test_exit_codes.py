"""Every exit code of docs/commands.md but those of bad input, by a real process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
from conftest import run_cli
from processes import Started, start_cli
from test_bad_input import TABLE

from l2l_omniglot.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
PICTURES = Path(__file__).parents[2] / "examples" / "pictures" / "support"
SHORT = (
    "--backbone", "fc", "--ways", "3", "--queries", "3", "--meta-batch-size", "1",
    "--validation-tasks", "2",
)  # fmt: skip


def documented() -> set[int]:
    """The codes of the table."""
    cells = re.findall(r"^\| ([\d, ]+) \|", PAGE.read_text().split("## Exit codes")[1], re.M)
    return {int(code) for cell in cells for code in cell.split(",")}


def plain(*arguments: str) -> Callable[[Path], tuple[int, str]]:
    def run(_npy: Path) -> tuple[int, str]:
        done = run_cli(*arguments)
        return done.returncode, done.stderr

    return run


def ends(process: Started) -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    assert process.returncode is not None
    return process.returncode, said


def full_disk(_npy: Path) -> tuple[int, str]:
    with Path("/dev/full").open("w") as full:
        return ends(start_cli("pretrained", stdout=full))


def full_disk_for_a_file(_npy: Path) -> tuple[int, str]:
    query = str(PICTURES.parent / "query" / "wave" / "2.png")
    return plain("predict", str(PICTURES), query, "--out", "/dev/full")(_npy)


def unexpected(_npy: Path) -> tuple[int, str]:
    """A library that breaks when it is imported."""
    Path("site").mkdir()
    Path("site/safetensors.py").write_text("raise ZeroDivisionError('by design')\n")
    path = os.pathsep.join(["site", os.environ.get("PYTHONPATH", "")])
    done = run_cli("evaluate", "--weights", "conv4", env={"PYTHONPATH": path})
    assert "Traceback" not in done.stderr and done.stdout == ""
    more = run_cli("-v", "evaluate", "--weights", "conv4", env={"PYTHONPATH": path})
    assert more.returncode == 1 and "Traceback" in more.stderr
    return done.returncode, done.stderr


def hopeless(npy: Path, part: str) -> tuple[str, ...]:
    """The classes of a part have the same images, so that no step satisfies every label.

    At a rate of 1,000 twenty such steps end in infinity on any processor, one nowhere near it.
    """
    pixels, names = np.load(npy), [str(number) for number in range(60)]
    parts = {"train": names[:40], "validation": names[40:50], "test": names[50:]}
    pixels[[int(name) for name in parts[part]]] = pixels[0, 0]
    np.save("hopeless.npy", pixels)
    Path("split.json").write_text(json.dumps(parts))
    words = (
        "train",
        "--data",
        "hopeless.npy",
        "--split",
        "split.json",
        *SHORT,
        "--head",
        "trained",
    )
    return *words, "--backbone", "basenet", "--inner-lr", "1000", "--run-dir", "run"


def no_number(npy: Path) -> tuple[int, str]:
    return plain(*hopeless(npy, "train"), "--inner-steps", "20")(npy)


def diverged(npy: Path) -> tuple[int, str]:
    """Every validation loss is NaN, and every training loss a number."""
    steps = ("--inner-steps", "1", "--eval-steps", "20", "--iterations", "4")
    code, said = plain(*hopeless(npy, "validation"), *steps, "--validation-every", "2")(npy)
    assert said.count("(diverged)") == 2 and not Path("run/best.safetensors").exists()
    assert plain("train", "--resume", "run")(npy)[0] == code
    return code, said


def diverging_in_tests(npy: Path) -> tuple[int, str]:
    """The table and the page are there nevertheless."""
    steps = ("--inner-steps", "1", "--eval-steps", "20", "--iterations", "2")
    plain(*hopeless(npy, "test"), *steps, "--validation-every", "2")(npy)
    weights = ("--weights", "run", "--tasks", "2", "--queries", "2")
    done = run_cli("evaluate", *weights)
    assert done.returncode == 7 and "transductive" in done.stdout
    assert "the loss after 20 inner steps is not finite: its training" in done.stderr
    found = plain("report", *weights, "--samples", "0")(npy)
    assert Path("report.html").is_file()
    return found


def torn_picture(_npy: Path) -> tuple[int, str]:
    """Two classes of one picture each, and a file that is none among the queries."""
    for name in ("light", "dark"):
        Path("known", name).mkdir(parents=True)
        copyfile(PICTURES / "wave" / "0.png", Path("known", name, "0.png"))
    Path("new").mkdir()
    copyfile(PICTURES / "wave" / "1.png", Path("new", "1.png"))
    Path("new", "torn.png").write_bytes(b"torn")
    return plain("-q", "predict", "known", "new")(_npy)


def stopped(number: signal.Signals) -> Callable[[Path], tuple[int, str]]:
    def run(npy: Path) -> tuple[int, str]:
        arguments = ["-q", "train", "--data", str(npy), *SHORT, "--run-dir", "run"]
        process = start_cli(*arguments, "--validation-every", "1")
        wait_for(Path("run/metrics.csv"), "\n1,")
        process.send_signal(number)
        return ends(process)

    return run


def wait_for(log: Path, text: str) -> None:
    """Until it is there; pytest-timeout ends what never comes."""
    while not (log.is_file() and text in log.read_text()):
        time.sleep(0.05)


CASES: list[tuple[int, str, Callable[[Path], tuple[int, str]]]] = [
    (0, "", plain("pretrained")),
    (1, "No space left on device", full_disk),
    (1, "/dev/full: No space left on device", full_disk_for_a_file),
    (1, "unexpected ZeroDivisionError: by design", unexpected),
    (7, "is not finite; a smaller inner learning rate (now 1000)", no_number),
    (7, "the training has diverged: at iteration 4 no validation has had a finite", diverged),
    (7, "run: the loss after 20 inner steps is not finite: its training", diverging_in_tests),
    (9, "skipped 1 of 4 pictures (support and queries)", torn_picture),
    (130, "train --resume run", stopped(signal.SIGINT)),
    (143, "train --resume run", stopped(signal.SIGTERM)),
]


@pytest.mark.parametrize(
    ("code", "said", "run"), CASES, ids=[f"{c[0]}-{c[1]}-{n}" for n, c in enumerate(CASES)]
)
def test_the_program_ends_with(
    code: int, said: str, run: Callable[[Path], tuple[int, str]], npy: Path
):
    found, stderr = run(npy)
    assert (found, said in stderr) == (code, True), stderr
    assert "Traceback" not in stderr
    assert len(re.findall(r"^Error: ", stderr, re.M)) == (0 if code in {0, 130, 143} else 1)


def test_these_are_the_documented_ones():
    refused, workers = {code for _, code, _ in TABLE}, {8}  # the latter in test_workers.py
    assert {code for code, _, _ in CASES} | refused | workers == documented()


def test_ctrl_c_while_the_command_line_is_loaded_leaves_no_traceback():
    script = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'l2l_omniglot.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from l2l_omniglot.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")


def test_a_second_ctrl_c_while_the_first_is_reported_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupted(_arguments: list[str]) -> int:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("l2l_omniglot.cli.prepare_process", lambda: None)
    monkeypatch.setattr("l2l_omniglot.cli.run", interrupted)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.value.code == 130
