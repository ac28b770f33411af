"""What the process is told, and when: by the command line, never by an import."""

import os
import platform
import subprocess
import sys

import pytest

from l2l_omniglot._util.process import keep_freed_memory, prepare_process

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def fresh(code: str, *arguments: str) -> str:
    """What a new process prints; nothing is set of how threads wait."""
    env = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_importing_the_package_changes_neither_environment_nor_allocator():
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "import l2l_omniglot; from l2l_omniglot import Settings, prepare_process\n"
        "print(dict(os.environ) == before, {'ctypes', 'torch'} & set(sys.modules))\n"
        "from l2l_omniglot import Experiment\n"
        "print('GOMP_SPINCOUNT' in os.environ, 'torch.distributed.nn.functional' in sys.modules)\n"
    )
    assert fresh(code).splitlines() == ["True set()", "False False"]


def test_the_command_line_prepares_the_process_before_torch_is_loaded():
    code = (
        "import sys, l2l_omniglot.cli as cli\n"
        "cli.prepare_process = lambda: print('torch' in sys.modules)\n"
        "cli.main()\n"
    )
    assert fresh(code, "--version").splitlines()[0] == "False"


@pytest.mark.parametrize(
    ("name", "value", "spins"),
    [(None, "", "3000"), ("GOMP_SPINCOUNT", "7", "7"), ("OMP_WAIT_POLICY", "passive", None)],
)
def test_threads_spin_shortly_unless_somebody_chose(
    monkeypatch: pytest.MonkeyPatch, name: str | None, value: str, spins: str | None
):
    for each in WAITING:
        monkeypatch.setenv(each, "")  # so that it is put back afterwards
        monkeypatch.delenv(each)
    if name:
        monkeypatch.setenv(name, value)
    prepare_process()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_glibc_is_told_to_keep_freed_memory():
    assert keep_freed_memory()
