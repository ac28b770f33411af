"""Worker processes that share out tasks, on one machine or many: torch.distributed."""

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
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from l2l_omniglot._util.process import launched, local_place
from l2l_omniglot.errors import SettingsError, WorkerError

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # e.g. for the first worker to prepare the data


@dataclass(frozen=True)
class Workers:
    """This process among those of a job.

    Attributes:
        rank: its number, from 0; number 0 writes and speaks for all.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is number 0."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """This worker's part of `total` things, which all workers' parts make up in order."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, tensor: torch.Tensor) -> None:
        """Puts the sum of all workers' tensors into each.

        Raises:
            WorkerError: if another worker is gone.
        """
        if self.count > 1:
            with _together():
                distributed.all_reduce(tensor)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns for each flag whether any worker has it set."""
        if self.count == 1:
            return flags
        counts = torch.tensor(flags, dtype=torch.float32, device=self._device)
        self.sum(counts)
        return tuple(bool(count) for count in counts.tolist())

    def from_first(self, value: T) -> T:
        """Returns the value that worker 0 has; the others' are ignored.

        Raises:
            WorkerError: if worker 0 is gone.
        """
        if self.count == 1:
            return value
        box: list[T] = [value]
        with _together():
            distributed.broadcast_object_list(box)
        return box[0]

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


ALONE = Workers()


@contextmanager
def _together() -> Iterator[None]:
    """Inside the block all workers exchange something; torch fails where one is gone."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerError("another worker is gone") from error


def _fresh(store: Store) -> Store:
    """Returns the store without what workers of an earlier start left in it.

    On one machine torchrun keeps its store over a restart, with the addresses of the dead. On
    several it opens a new one, and their restart counts need not agree.
    """
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"start {attempt}", store)


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """Joins the job's other workers for the block; outside of torchrun there are none.

    Args:
        device: where it computes; NCCL connects GPUs, gloo all else.

    Raises:
        SettingsError: if what torchrun left in the environment is not understood.
        WorkerError: if the others do not come.
    """
    if not launched():
        yield ALONE
        return
    # Its functions keep the group that exists when it is first imported, and with that the group's
    # threads, which may then crash the process as it ends. So it is imported while there is none.
    importlib.import_module("torch.distributed.nn.functional")
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        distributed.init_process_group(
            backend, timeout=PATIENCE, store=_fresh(store), rank=rank, world_size=count
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
    """Lets workers on one machine share its cores out, unless OMP_NUM_THREADS says otherwise."""
    _, here = local_place()
    if launched() and os.environ.get("OMP_NUM_THREADS", "1") == "1":  # 1 is torchrun's default
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))
