"""Processes that run the command line, forked from one that has torch and learn2learn loaded.

A new interpreter takes more than a second to load them, a fork some 20 ms. What runs is a process
all the same, with its own arguments, environment, working folder, signals, streams and exit code.
A new interpreter takes over where the process has other modules on its path than those loaded.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import json
import multiprocessing
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, NoReturn

TESTS = Path(__file__).parent
STREAMS = ("stdin", "stdout", "stderr")
PRELOADED = "preloaded"
# The cache folder of what is no test's own: built-in characters, drawn once for all test runs.
DRAWN = TESTS.parent / ".pytest_cache" / "d" / "drawn"
# What the tests have on the path of modules, and the programs that they run have not; beside the
# folders of tests, which pytest puts there.
_OWN_PATH = {"", str(TESTS.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}


def _is_own(entry: str) -> bool:
    return entry in _OWN_PATH or Path(entry).is_relative_to(TESTS)


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([PRELOADED])
_starting = threading.Lock()


def _serve() -> None:
    """Sees to it that there is a process to fork from, with one thread and the tests' modules."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    changed = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "L2L_OMNIGLOT_CACHE": str(DRAWN)}
    before = {name: os.environ.get(name) for name in changed}
    with _starting:
        os.environ.update(changed)
        try:
            forkserver.ensure_running()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


class Started:
    """A running ``python ARGUMENTS``; it has what tests use of `subprocess.Popen`.

    Args:
        arguments: ``-m MODULE ...`` or ``-c CODE ...``.
        env: the whole environment; else that of the test.
        cwd: the working folder; else that of the test.
        stdout: a file to write to; else a pipe.
        stderr: likewise.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdin: IO[Any] | int = subprocess.DEVNULL,
        stdout: IO[Any] | int = subprocess.PIPE,
        stderr: IO[Any] | int = subprocess.PIPE,
    ) -> None:
        self.stdout, output = _ends(stdout)
        self.stderr, errors = _ends(stderr)
        streams = _Streams([_ends(stdin)[1], output, errors])
        how = (dict(os.environ if env is None else env), str(cwd or Path.cwd()))
        _serve()
        self._process = _forks.Process(
            target=_run, args=(list(arguments), *how, streams), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        streams.close()

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._process.exitcode

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    def wait_for(self, text: str) -> None:
        """Reads its errors up to a line with the text."""
        assert self.stderr is not None
        wait_for(self.stderr, text)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What is left of its output and errors, once it has ended."""
        files = (self.stdout, self.stderr)
        with ThreadPoolExecutor(2) as pool:
            left = [pool.submit(file.read if file and not file.closed else str) for file in files]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        for file in files:
            if file:
                file.close()
        return left[0].result(), left[1].result()


def wait_for(lines: Iterable[str], text: str) -> None:
    """Reads lines up to one with the text; pytest-timeout ends what never comes."""
    seen = []
    for line in lines:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"ended without {text!r}:\n{''.join(seen)}")


def run(
    arguments: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python ARGUMENTS`` to its end; what it wrote comes as text."""
    process = Started(arguments, env, cwd)
    output, errors = process.communicate(timeout)
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(arguments), process.returncode, output, errors)


def start_cli(*arguments: str, **how: Any) -> Started:
    """Starts the command line."""
    return Started(["-m", "l2l_omniglot", *arguments], **how)


def client(door: Path) -> str:
    """The command that stands for ``python`` where a shell or a program starts processes."""
    return f"{sys.executable} -I -S {TESTS / 'client.py'} {door}"


@contextmanager
def served(path: Path) -> Iterator[None]:
    """Inside the block `client` runs what it is asked to in a forked process."""
    with socket.socket(socket.AF_UNIX) as door, ThreadPoolExecutor(8) as pool:
        door.bind(str(path))
        door.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):  # the door was shut
                while True:
                    pool.submit(_serve_client, door.accept()[0])

        threading.Thread(target=answer, daemon=True).start()
        yield
        door.shutdown(socket.SHUT_RDWR)


def _serve_client(asks: socket.socket) -> None:
    """Runs what a client asks for on its streams, passes its signals on, tells it the end."""
    with asks:
        size, streams, _, _ = socket.recv_fds(asks, 4, len(STREAMS))
        request = asks.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        process = Started(*json.loads(request), *streams)
        for stream in streams:
            os.close(stream)
        while process.returncode is None:
            ready = wait([asks, process.sentinel])
            if asks in ready and process.sentinel not in ready:
                process.send_signal(int.from_bytes(asks.recv(1), "big") or signal.SIGKILL)
        asks.sendall(struct.pack("i", process.returncode))


def _ends(given: IO[Any] | int) -> tuple[IO[str] | None, int]:
    """This side's end of a stream, where it is a pipe, and the other side's."""
    if given == subprocess.PIPE:
        ours, theirs = os.pipe()
        return os.fdopen(ours, encoding="utf-8"), theirs
    if given == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    return None, os.dup(given if isinstance(given, int) else given.fileno())


class _Streams:
    """The three standard streams, on their way to the process."""

    def __init__(self, ends: list[int]) -> None:
        self._ends = ends

    def __getstate__(self) -> list[Any]:
        return [DupFd(end) for end in self._ends]

    def __setstate__(self, sent: list[Any]) -> None:
        self._ends = [end.detach() for end in sent]

    def close(self) -> None:
        for end in self._ends:
            os.close(end)

    def take_their_places(self) -> None:
        """Puts them where the C library and Python look for them."""
        for number, end in enumerate(self._ends):
            os.dup2(end, number)
        self.close()
        encoding, _, handler = os.environ.get("PYTHONIOENCODING", "").partition(":")
        at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
        for number, name in enumerate(STREAMS):
            first = getattr(sys, f"__{name}__")
            out = number > 0
            buffer = open(  # noqa: SIM115 - a number, open as long as the process lives
                number, "wb" if out else "rb", 0 if out and at_once else -1, closefd=False
            )
            stream = io.TextIOWrapper(
                buffer,
                encoding=codecs.lookup(encoding or first.encoding).name,
                errors=first.errors if name == "stderr" or not encoding else handler or "strict",
                line_buffering=not at_once and (name == "stderr" or os.isatty(number)),
                write_through=out and at_once,
            )
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _run(arguments: list[str], env: dict[str, str], cwd: str, streams: _Streams) -> NoReturn:
    """Is the process, from its start to its end."""
    assert PRELOADED in sys.modules, f"{PRELOADED}.py did not load: python tests/{PRELOADED}.py"
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    streams.take_their_places()
    sys.executable = env.get("TESTS_PYTHON", sys.executable)  # for those it starts in turn
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    given = env.get("PYTHONPATH")  # empty is as good as unset; an empty entry is the folder
    path = [entry or cwd for entry in given.split(os.pathsep)] if given else []
    new = [entry for entry in path if not _is_own(entry)]
    if any(name in sys.modules for name in _modules_in([cwd, *new])):
        os.execv(sys.executable, [sys.executable, *arguments])
    sys.path[:] = [cwd, *path, *(entry for entry in sys.path if not _is_own(entry))]
    _start_anew()
    _end(_exit_code(arguments))


def _modules_in(folders: Iterable[str]) -> set[str]:
    """The names of modules and packages that are to be found there."""
    parts = [part for folder in folders for part in Path(folder).glob("*")]
    return {p.stem for p in parts if p.suffix == ".py" or (p / "__init__.py").is_file()}


def _start_anew() -> None:
    """Has as many threads and as little in common by chance with others as a new interpreter."""
    import numpy as np
    import torch

    np.random.seed()
    torch.seed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def _exit_code(arguments: list[str]) -> int:
    """Does what the interpreter is asked to do, and says how it ended as the interpreter would."""
    option, what, *rest = arguments
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as an interpreter, once it runs
        if option == "-m":
            sys.argv = [what, *rest]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            assert option == "-c", arguments
            sys.argv = [option, *rest]
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), main.__dict__)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """Ends as an interpreter does: threads, then what waits for the end, then the streams."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        traceback.print_exc()
        code = code or 120
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
