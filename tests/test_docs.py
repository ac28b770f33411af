"""Every command and every Python snippet of README and docs is run, the long ones shortened.

A block is run as it stands, by bash, with four programs standing in front of the real ones. All of
Python is forked (processes.py) but for pip and pytest, in which the readers' own is at stake.
`l2l-omniglot` and `torchrun` append options that make training and evaluation short, and end
`draw` once it listens; `python -m pip` only resolves (--dry-run), but for a folder (./my-net),
which it installs beside the rest; `python -m benchmarks` is quick and stays on the CPU; `make`
runs the commands that the real one would, through these.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import put_into_cache
from processes import client, run, served

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("[RC]*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SHORT = {
    "train": "--iterations 2 --meta-batch-size 1 --validation-every 2 --validation-tasks 2",
    "best": "--train-ways 5",
    "tune": "--trials 2",
    "evaluate": "--tasks 2",
    "report": "--tasks 2",
    "reproduce": "--iterations 2 --tasks 2 --data synthetic --backbones fc",
}
BLOCK = r"(?ms)^```(\w+)\n(.*?)^```$"  # its language, and what it says
RESUME = "--iterations 3"
QUIETLY = "import warnings; warnings.simplefilter('error')\n"

CLI = """#!/usr/bin/env bash
set -e
case "$*" in
  "draw --export"*) extra="" ;;
  "draw"*)
    {fork} -m l2l_omniglot "$@" --port 0 --no-browser > address & page=$!
    until grep -q "^http://" address; do kill -0 $page; sleep 0.1; done
    kill $page; exit 0 ;;
  "train --resume"*) extra="{resume}" ;;
  "train --recipe best"*) extra="{train} {best}" ;;
  "train "*) extra="{train}" ;;
  "tune "*) extra="{train} {tune}" ;;
  "evaluate "*"protocol lake"*) extra="" ;;
  "evaluate "*) extra="{evaluate}" ;;
  "reproduce "*) extra="{reproduce}" ;;
  "report"*) extra="{report}" ;;
  *) extra="" ;;
esac
exec {fork} -m l2l_omniglot "$@" $extra
"""
TORCHRUN = """#!/usr/bin/env bash
exec {fork} -m torch.distributed.run "$@" {train}
"""
PYTHON = """#!/usr/bin/env bash
if [ "$1" = -u ]; then shift; export PYTHONUNBUFFERED=1; fi  # as torchrun starts its workers
case "$1 $2 $3" in
  "-m l2l_omniglot "* | "-m torch.distributed.run "* | "-m benchmarks"*" --point")
    exec {fork} "$@" ;;
esac
export PYTHONPATH={root}
case "$1 $2 $3 $4" in
  "-m pip install ./"*)
    exec {python} -m pip install --quiet --no-deps --no-build-isolation --target {site} "$4" ;;
esac
case "$1 $2" in
  "-m pytest") cd {root} && exec env -u L2L_OMNIGLOT_SOURCE {python} "$@" ;;
  "-m pip") exec {python} -m pip install --dry-run --quiet "${{@:4}}" ;;
  "-m benchmarks") exec {fork} -m benchmarks --quick ;;
  "-m benchmarks.speed") exec {fork} "${{@//cuda/cpu}}" --seconds 0 --tasks 2 --settings 5-way ;;
  "-m benchmarks.draw") exec {fork} "$@" --rounds 1 ;;
  "-m benchmarks.scaling") exec {fork} "$@" --rounds 1 --values 2 --iterations 2 ;;
  "-m benchmarks.time_to_accuracy")
    exec {fork} "$@" --goals default --minutes 0.01 --data synthetic --meta-batch-size 1 \
      --validation-tasks 2 ;;
esac
exec {python} "$@"
"""
MAKE = """#!/usr/bin/env bash
set -eo pipefail
case "$1" in test | check) exit 0 ;; esac  # what runs this
lines=$({make} --no-print-directory -n -C {root} -o .venv/.ready "$@")
echo "$lines" | grep -v "^echo" | grep -oE "(l2l-omniglot|python -m benchmarks).*" |
  while read -r line; do bash -ec "$line"; done
"""


@pytest.fixture
def env(
    tmp_path: Path, raw_archives: Path, raw_npy: Path, one_shot_runs: Path
) -> Iterator[dict[str, str]]:
    """A folder as the reader has it, with the programs that shorten first on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    values = {
        # Without the variable below, which would take the interpreter out of its environment.
        "python": f"env -u PYTHONEXECUTABLE {sys.executable}",
        "fork": client(tmp_path / "door"),
        "root": ROOT,
        "make": subprocess.check_output(["bash", "-c", "command -v make"], text=True).strip(),
        "resume": RESUME,
        "site": tmp_path / "site",
        **SHORT,
    }
    shims = {"l2l-omniglot": CLI, "torchrun": TORCHRUN, "python": PYTHON, "make": MAKE}
    for name, text in shims.items():
        path = programs / name
        path.write_text(text.format(**values))
        path.chmod(0o755)
    (tmp_path / "archives").symlink_to(raw_archives)
    shutil.make_archive(str(tmp_path / "all_runs"), "zip", one_shot_runs)
    for name in (
        "requirements.txt",
        "requirements-torch.txt",
        "requirements-dev.txt",
        "setup.cfg",
        "setup.py",
        "examples",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    put_into_cache(raw_npy)
    env = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "TESTS_PYTHON": str(programs / "python"),
        "L2L_OMNIGLOT_SOURCE": str(raw_archives),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]),
    }
    with served(tmp_path / "door"):
        yield env


# README in Chinese has the blocks of README, one by one, as a test below says.
RUN = [page for page in PAGES if page.name != "README.zh.md"]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_block_runs(page: Path, env: dict[str, str], tmp_path: Path):
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(BLOCK, text):
        if language == "python":
            done = run(["-c", QUIETLY + block], env, tmp_path)
        elif language == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
        elif language == "toml":  # the block after it reads it
            (tmp_path / "omniglot.toml").write_text(block)
            continue
        else:
            assert language in {"ini", "py", "text"}, f"{page.name}: who runs a {language} block?"
            continue
        assert done.returncode == 0, f"{page.name}:\n{block}\n{done.stdout}\n{done.stderr}"


FORGOTTEN = re.compile(r"\b(TODO|FIXME|TBD|XXX)\b|\{\{|[?]{2,}|(?<!\w)@[A-Z]|\b(DEMO|RESULT)_")


def test_no_placeholder_was_forgotten():
    for text in ("TODO: say more", "{{ accuracy }}", "?? %", "@DATE", "RESULT_5W1S"):
        assert FORGOTTEN.search(text), text
    for page in PAGES:
        found = FORGOTTEN.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found}"


@pytest.mark.slow
def test_imports_warn_of_nothing():
    """By a new process, for the blocks are run by those that have everything loaded."""
    code = "import l2l_omniglot as lo; print([getattr(lo, name) for name in lo.__all__])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_pages_link_to_files_that_exist():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_room_has_a_line_in_the_architecture():
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text(), re.M))
    package = ROOT / "l2l_omniglot"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert listed == modules | packages


def test_every_dependency_has_a_reason():
    setup = (ROOT / "setup.cfg").read_text()
    names = re.findall(r"^    ([a-z0-9]+)[>=]=", setup.split("install_requires")[1], re.M)
    page = (ROOT / "docs/install.md").read_text()
    assert len(names) >= 9
    for name in set(names):
        assert re.search(rf"\b{name}\b", page), f"docs/install.md does not say why {name}"


def test_exit_codes_are_documented():
    from l2l_omniglot.errors import L2LOmniglotError

    page = (ROOT / "docs/commands.md").read_text()
    kinds = [L2LOmniglotError, *L2LOmniglotError.__subclasses__()]
    assert len({kind.exit_code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert f"| {kind.exit_code} |" in page


def test_public_names_explain_themselves():
    import l2l_omniglot

    for name in l2l_omniglot.__all__:
        if name != "__version__":
            assert len(getattr(l2l_omniglot, name).__doc__) > 30, name
    assert set(dir(l2l_omniglot)) >= set(l2l_omniglot.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = l2l_omniglot.nothing


# Numbers in words that both languages have: how many, and of what.
ENGLISH = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "twenty": 20}
CHINESE = {"一": 1, "两": 2, "三": 3, "四": 4, "五": 5, "十": 10, "二十": 20}
COUNTED = (
    (r"minutes?", "分钟"),
    (r"(?:CPU )?cores?", "核"),
    (r"shots", "个样例"),
    (r"checkpoints", "个检查点"),
    (r"commands", "条命令\n"),
)


def in_words(text: str, words: dict[str, int], unit: str) -> list[int]:
    """The numbers in words that stand before a unit."""
    found = re.findall(rf"({'|'.join(sorted(words, key=len, reverse=True))})\s*{unit}", text, re.I)
    return sorted(words[word.lower()] for word in found)


def test_both_readmes_have_the_same_numbers_commands_and_links():
    english, chinese = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")
    )
    for pattern in (
        r"\d(?:[\d.,]*\d)?",
        r"[\d.,]+ ± [\d.,]+ %",
        r"(?ms)^```(?:sh|python)\n.*?^```",
        r"\]\((?!README)[^)]*",
        r"(?m)^#+ ",
        r"(?m)^\|",
    ):
        one, other = (Counter(re.findall(pattern, text)) for text in (english, chinese))
        assert one and one == other, (pattern, one - other, other - one)
    one, other = (re.findall(BLOCK, text) for text in (english, chinese))
    assert len(one) >= 6 and one == other  # all of them, in their order
    for here, there in COUNTED:
        found = in_words(english, ENGLISH, here)
        assert found and found == in_words(chinese, CHINESE, there), here
