"""The process: its memory, threads, device and signals, and its rank under torchrun."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from l2l_omniglot.errors import SettingsError, refused

if TYPE_CHECKING:
    import torch

# How long a thread of GNU's OpenMP, which torch uses on Linux, spins for the others before it
# sleeps. The default is a hundred times that, with which a busy machine trains at a thirtieth of
# its speed; without spinning a quiet one loses half (docs/performance.md).
SPINS = "3000"
DEVICES = ("auto", "cpu", "cuda", "mps")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt(3)


def prepare_process() -> None:
    """Tunes how threads wait and how memory is freed; call it before torch is imported.

    Sets ``GOMP_SPINCOUNT`` unless it or ``OMP_WAIT_POLICY`` is set, and calls `keep_freed_memory`.
    The command line does so by itself; importing the package does not.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Lets glibc keep freed memory in this process; returns whether it took the setting.

    Training frees and allocates the same few megabytes hundreds of times a second; fetching them
    page by page costs a fifth of the time on some machines. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20))
    return all(mallopt(option, value) == 1 for option, value in settings)


def choose_device(name: str) -> torch.device:
    """Chooses a device: ``cpu``, ``cuda``, ``mps``, or ``auto`` (CUDA, else MPS, else CPU)."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    devices = [*(device for device in available if available[device]), "cpu"]
    chosen = devices[0] if name == "auto" else name
    if chosen not in devices:
        raise refused("device", name, f"not available here; expected one of {', '.join(devices)}")
    if chosen != "cuda":
        return torch.device(chosen)
    (rank, count), gpus = local_place(), torch.cuda.device_count()
    if count > gpus:  # each of several workers on a machine takes a GPU of its own
        raise SettingsError(f"{count} workers on this machine: expected at most {gpus}, one a GPU")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def bfloat16_pays(device: str) -> bool:
    """Returns whether training in bfloat16 is faster there: on processors that have it.

    On GPUs it was not: the networks are too small, see docs/performance.md.
    """
    import torch

    if choose_device(device).type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def launched() -> bool:
    """Returns whether torchrun, or something like it, started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def restarted() -> bool:
    """Returns whether torchrun restarted this process after a worker had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def local_place() -> tuple[int, int]:
    """Returns this process's rank among the workers on this machine, and their number."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


class StopRequest:
    """Tells, when called, whether a stop was requested; `signal` is by which signal."""

    signal: int | None = None

    def __call__(self) -> bool:
        """Returns whether a stop was requested."""
        return self.signal is not None


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turns the block's first SIGINT or SIGTERM into a request to stop; a second one acts.

    Outside the main thread, where signals cannot be caught, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield request
    finally:
        restore()
