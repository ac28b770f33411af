"""Worker processes that share tasks, on one machine or several, by torch.distributed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from l2l_omniglot._util.process import launched, local_place
from l2l_omniglot.errors import SettingsError, WorkerError

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # e.g. for the first worker to prepare the data


@dataclass(frozen=True)
class Workers:
    """The `count` worker processes of a job, as seen by number `rank`, from 0.

    Only number 0 writes files and messages.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Returns whether this is worker 0."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Returns this worker's share of `total` items; all shares in order cover them."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, tensor: torch.Tensor) -> None:
        """Replaces the tensor by the sum of all workers' tensors.

        Raises:
            WorkerError: if another worker is gone.
        """
        if self.count > 1:
            with _together():
                distributed.all_reduce(tensor)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns for each flag whether any worker has set it."""
        if self.count == 1:
            return flags
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        counts = torch.tensor(flags, dtype=torch.float32, device=device)
        self.sum(counts)
        return tuple(map(bool, counts.tolist()))

    def from_first(self, value: T) -> T:
        """Returns worker 0's value; the others' are ignored.

        Raises:
            WorkerError: if worker 0 is gone.
        """
        if self.count == 1:
            return value
        box: list[T] = [value]
        with _together():
            distributed.broadcast_object_list(box)
        return box[0]


ALONE = Workers()


@contextmanager
def _together() -> Iterator[None]:
    """Surrounds an exchange of all workers, where torch fails if one is gone."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerError("another worker is gone") from error


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """Joins the job's other workers for the block; outside torchrun there are none.

    Args:
        device: where this worker computes; NCCL connects GPUs, gloo anything else.

    Raises:
        SettingsError: if torchrun's environment variables cannot be read.
        WorkerError: if the other workers do not join in time.
    """
    if not launched():
        yield ALONE
        return
    # This module keeps the group that exists when it is first imported, with the group's threads,
    # which may crash the process at exit. So it is imported before there is a group.
    importlib.import_module("torch.distributed.nn.functional")
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        # On one machine torchrun keeps its store over a restart, with the addresses of dead
        # workers. On several it opens a new one, and their restart counts need not agree.
        if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
            store = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        distributed.init_process_group(
            backend, timeout=PATIENCE, store=store, rank=rank, world_size=count
        )
    except ValueError as error:
        raise SettingsError(f"the environment that torchrun should have set: {error}") from error
    except RuntimeError as error:
        raise WorkerError(f"the workers did not find each other: {error}") from error
    try:
        yield Workers(rank, count)
    finally:
        distributed.destroy_process_group()


def take_own_cores() -> None:
    """Divides a machine's cores among its workers, unless OMP_NUM_THREADS says otherwise."""
    if launched() and os.environ.get("OMP_NUM_THREADS", "1") == "1":  # 1 is torchrun's default
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_place()[1]))
