"""Starts worker processes on this machine, as torchrun does."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence

from l2l_omniglot.errors import SettingsError, WorkerError

RUN_ID = "l2l-omniglot"
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


def launched() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launched_here() -> bool:
    """Whether `launch` started this process."""
    return launched() and os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(f"{RUN_ID}-")


def end_with_launcher() -> None:
    """Has the system stop this worker in good order should its launcher be killed (Linux only).

    Nobody would see it train on otherwise, into a folder that a resumed run writes to, too.
    """
    if launched_here() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Runs ``l2l-omniglot ARGUMENTS`` in several processes that share its tasks out.

    Args:
        processes: how many, at least 1.
        arguments: of the command line.

    Returns:
        The exit code: 0, or that of the worker that failed first.

    Raises:
        SettingsError: if there are more processes than cores.
        WorkerError: if a worker died.
    """
    cores = os.cpu_count() or 1
    if not 1 <= processes <= cores:
        raise SettingsError(f"--processes {processes}: needed 1 to {cores}, this machine's cores")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What it would log, the exit code and the workers' own words say more plainly.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"{RUN_ID}-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "l2l_omniglot", *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode in {WorkerError.exit_code, *range(-64, 0)}:
            died = f"worker {failure.local_rank} died (exit code {failure.exitcode})"
            raise WorkerError(died) from error
        return int(failure.exitcode)
    except SignalException as error:
        return 128 + error.sigval.value
    return 0
