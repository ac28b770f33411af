"""What the commands print fits a terminal of 80 columns, and uses the space of a wider one."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from processes import Started
from terminal import plain

from l2l_omniglot._util.text import columns, fold
from l2l_omniglot.cli import cli
from l2l_omniglot.cli.config import Group, commands
from l2l_omniglot.cli.console import TRAINING

ROOT = Path(__file__).parents[2]
SMALL = (
    "--data", "synthetic", "--backbone", "fc", "--meta-batch-size", "2", "--validation-every", "2",
    "--validation-tasks", "3", "--iterations", "4",
)  # fmt: skip
# Each with words of what it shows.
SHOWN: list[tuple[tuple[str, ...], str]] = [
    (("train", *SMALL), "best validation accuracy"),
    (("train", *SMALL, "--run-dir", "a-run/in-a-folder/of-a-long/name"), "--weights a-run"),
    (("evaluate", "--tasks", "3", "--baselines", "--verbose"), "transductive"),
    (("evaluate", "--tasks", "3", "--within-alphabet", "--rotated-tests", "each"), "within one"),
    (("report", "--tasks", "3", "--pictures", "pictures"), "Wrote report.html"),
    (("show", "data", "--data", "synthetic"), "synthetic, all"),
    (("show", "task", "3", "--data", "synthetic", "--part", "test"), "query"),
    (("predict", "support", "query"), "95 % interval"),
    (("export", "support", "--out", "a.pt2"), "Differs from the original"),
    (("reproduce", "--backbones", "fc", "--algorithms", "maml", "--iterations", "2", "--tasks", "3",
      "--data", "synthetic", "--settings", "5w1s"), "test tasks, after"),
    (("tune", *SMALL, "--trials", "2"), "Best validation accuracy of 2 trials"),
    (("pretrained",), "Best on validation tasks"),
    (("backbones",), "l2l_omniglot.backbones.basenet:BaseNet"),
    (("check-backbone", "basenet"), "second order"),
    (("info",), "newest run"),
    (("draw", "--port", "0", "--no-browser"), "Ctrl-C ends it."),
    (("prepare", "--source", "nowhere"), "Error: "),
    (("evaluate", "--weights", "resnet9"), "did you mean 'resnet8'?"),
    (("train", "--backbone", "basnet"), "did you mean 'basenet'?"),
    (("train", "--wayz", "5"), "No such option"),
    (("train", *SMALL, "--iterations", "0"), "expected at least 1"),
]  # fmt: skip


def on_terminal(
    width: int, *arguments: str, until: str = "Ctrl-C ends it.", echoed: bytes = b""
) -> str:
    """What a command shows on a terminal, interrupted once it shows what is waited for."""
    own, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    command = ["-m", "l2l_omniglot", *arguments]
    env = {**os.environ, "TESTS_PYTHON": "python"}  # whose path, which `info` tells, may be long
    process = Started(command, env, stdin=child, stdout=child, stderr=child)
    os.close(child)
    shown, pressed = "", False
    with contextlib.suppress(OSError):  # the other end was closed
        while block := os.read(own, 4096):
            shown += block.decode(errors="replace")
            if until in shown and not pressed:
                pressed = True
                os.write(own, echoed)
                process.send_signal(signal.SIGINT)
    os.close(own)
    process.wait(60)
    return shown


def lines(shown: str) -> Iterator[str]:
    """The lines as they stand there: a bar returns to the start of its own."""
    return (line for line in re.split(r"[\r\n]+", shown) if len(line.split()) > 1)


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 120])
def test_everything_fits(width: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("L2L_OMNIGLOT_CACHE", "cache")  # no path of pytest's, which may be longer
    for part in ("support", "query"):
        shutil.copytree(ROOT / "examples" / "pictures" / part, part)
    for arguments, said in SHOWN:
        shown = plain(on_terminal(width, *arguments))
        assert said in " ".join(shown.split()), (arguments, shown)
        assert not [line for line in lines(shown) if columns(line) > width], arguments


@pytest.mark.slow
def test_the_bar_shows_its_figures_whole_beside_the_bar():
    shown = plain(
        on_terminal(80, "train", *SMALL, "--iterations", "40", "--validation-every", "20")
    )
    bars = [line for line in lines(shown) if line.startswith("|")]
    form = r"\|(.{10,})\| 40/40, loss \d\.\d{3}, accuracy \d+\.\d%, \d+ tasks/s, [\d:?]+ left *"
    assert re.fullmatch(form, bars[-1]), bars[-1]
    longest = ", loss 12.345, accuracy 100.0%, 1234 tasks/s"
    empty = TRAINING.format(
        bar="", n_fmt="24000", total_fmt="24000", postfix=longest, remaining="1:12:34"
    )
    assert len(empty) <= 74


@pytest.mark.slow
def test_ctrl_c_leaves_no_mark_behind_the_bar():
    """The terminal writes ^C where the cursor stands."""
    command = ("train", *SMALL, "--iterations", "100000000")
    shown = on_terminal(80, *command, until=" left", echoed=b"^C")
    assert "^C" in shown and not [line for line in visible(shown) if "^C" in line], shown
    bars = [line for line in lines(plain(shown)) if line.startswith("|")]
    assert bars and max(map(columns, bars)) < 80, bars  # with ^C: a full line would break


def visible(shown: str) -> Iterator[str]:
    """The lines as they stand there at the end: one that is written over shows what is left."""
    for line in shown.split("\n"):
        seen = ""
        for part in line.split("\r"):
            text, cleared, rest = part.partition("\x1b[K")
            text = plain(text)
            seen = text + plain(rest) if cleared else text + seen[len(text) :]
        yield seen


@pytest.mark.parametrize("width", [80, 120])
def test_help_fits(width: int):
    groups = [[name] for name, command in cli.commands.items() if isinstance(command, Group)]
    for words in [[], *groups, *(name.split() for name in commands(cli))]:
        done = CliRunner().invoke(cli, [*words, "--help"], terminal_width=width)
        assert done.exit_code == 0
        assert not [line for line in done.output.splitlines() if len(line) > width], words


def test_folding_cuts_no_word_and_keeps_a_command_a_command():
    assert fold("one two three", 8) == "one two\nthree"
    assert fold("  one two three", 9) == "  one two\n    three"
    assert fold("one  two", 20) == "one  two"
    assert fold("a-very-long-word", 5) == "a-very-long-word"
    assert fold("\x1b[31mone\x1b[0m two", 7) == "\x1b[31mone\x1b[0m two"
    assert fold("中文 中文", 8) == "中文\n中文"
    command = fold("  l2l-omniglot evaluate --tasks 500 --weights run", 31)
    assert command == "  l2l-omniglot evaluate \\\n    --tasks 500 --weights run"
