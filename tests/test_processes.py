"""A forked process is as a new one: in what it finds, in what it writes and in how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Started, run

FINDS = """
import os, signal, sys
print(sys.argv, os.getcwd(), sorted(os.environ.items()), sys.path[:2], __name__)
print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)])
print(sys.stdin.read(), sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors)
print(sys.stdout.line_buffering, sys.stderr.line_buffering)
"""


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        FINDS,
        "raise SystemExit",
        "raise SystemExit(3)",
        "raise SystemExit(257)",
        "raise SystemExit('in words')",
        "raise ValueError('by design')",
        "raise KeyboardInterrupt",
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import atexit; atexit.register(print, 'the end'); print('not yet')",
        "import threading, time\nthreading.Timer(0.1, print, ['late']).start()",
        "import ctypes; c = ctypes.CDLL(None); c.puts(b'by the C library'); c.fflush(None)",
        "import sys; sys.stdout = open('/dev/full', 'w'); print('x')",
        "import os, sys; os.write(2, b'one'); sys.stderr.write('two\\n')",
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_it_is_as_a_new_process(code: str, unbuffered: str, tmp_path: Path):
    encoding = "utf-8" if unbuffered else "latin-1:replace"
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": encoding}
    arguments = ["-c", code, "an", "argument"]
    new = subprocess.run(
        [sys.executable, *arguments],
        env=env, cwd=tmp_path, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
        # A job in the background would leave SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    forked = run(arguments, env, tmp_path)
    assert forked.returncode == new.returncode
    # The first of sys.path is the folder, for one by name.
    assert forked.stdout.replace(f"['{tmp_path}', ", "['', ") == new.stdout
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


def test_it_is_started_by_a_process_of_one_thread_that_has_torch():
    code = (
        "import sys; loaded = 'torch' in sys.modules; import os, torch\n"
        "print(loaded, len(os.listdir(f'/proc/{os.getppid()}/task')), torch.get_num_threads())"
    )
    assert run(["-c", code], {**os.environ, "OMP_NUM_THREADS": "3"}).stdout == "True 1 3\n"


def test_no_two_of_them_draw_the_same_random_numbers():
    code = "import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(1))"
    one, other = (run(["-c", code]).stdout.split()[:3] for _ in range(2))
    assert not set(one) & set(other)


def test_other_modules_of_a_name_that_is_loaded_are_the_ones_it_finds(tmp_path: Path):
    (tmp_path / "torch.py").write_text("print('another')\n")
    assert run(["-c", "import torch"]).stdout == "another\n"  # from the working folder
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(["-c", "import torch"], {**os.environ, "PYTHONPATH": path}, "/")
    assert done.stdout == "another\n"


def test_it_is_told_of_signals():
    code = "import time; print('ready', flush=True); time.sleep(60)"
    process = Started(["-c", code])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors
