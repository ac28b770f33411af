"""This process: its memory, threads and device, its signals, its place among torchrun's workers.

torch is imported only where a device is chosen.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from l2l_omniglot.errors import SettingsError

if TYPE_CHECKING:
    import torch

# How long GNU's OpenMP, which torch has on Linux, lets a thread spin for the others before it
# sleeps. Its own choice is a hundred times that: a machine that is busy with something else as
# well then trains at a thirtieth of its speed. Not to spin at all takes half of a quiet one's.
# Measured in docs/performance.md.
SPINS = "3000"
DEVICES = ("auto", "cpu", "cuda", "mps")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt(3)


def prepare_process() -> None:
    """Prepares this process for training: how threads wait, and what becomes of freed memory.

    Sets ``GOMP_SPINCOUNT`` unless it or ``OMP_WAIT_POLICY`` is set, which is read when torch is
    loaded, so call this before; and calls `keep_freed_memory`. The command line does so; in a
    program or notebook of your own call it first. Importing the package changes neither.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Lets glibc keep freed memory instead of handing it back to the system at once.

    A training frees and allocates the same few megabytes hundreds of times a second; fetching
    them anew each time, page by page, costs a fifth of the time on some machines. It holds for
    the whole process, so it is for programs to call; without glibc nothing happens.

    Returns:
        Whether the setting was taken.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20))
    taken = [mallopt(option, value) == 1 for option, value in settings]
    return all(taken)


def choose_device(name: str) -> torch.device:
    """Chooses a device by name: ``cpu``, ``cuda``, ``mps``, or ``auto`` (CUDA, else MPS, else CPU).

    Raises:
        SettingsError: if this machine or this build of torch has no such device.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    there = [device for device, found in available.items() if found]
    name = there[0] if name == "auto" else name
    if name not in there:
        raise SettingsError(f"--device {name}: not available here; there is {', '.join(there)}")
    if name != "cuda":
        return torch.device(name)
    (rank, here), gpus = local_place(), torch.cuda.device_count()
    if here > gpus:  # of several workers on a machine, each takes a GPU of its own
        raise SettingsError(f"{here} workers on this machine: expected at most {gpus}, one a GPU")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def launched() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def restarted() -> bool:
    """Whether torchrun started this process again after a worker had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def local_place() -> tuple[int, int]:
    """Returns this process's number among the workers on this machine, and how many they are."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


class StopRequest:
    """Whether a stop was asked for, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal is not None


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Lets the block's first SIGINT or SIGTERM only ask for a stop; a second one acts.

    Signals can be caught in the main thread alone; elsewhere they keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        for again, handler in before.items():
            signal.signal(again, handler)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
