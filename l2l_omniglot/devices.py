"""Where torch computes."""

from __future__ import annotations

import torch

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.torchrun import local_place


def choose_device(name: str) -> torch.device:
    """The device meant by ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda`` or ``mps``.

    Raises:
        SettingsError: if this machine or this build of torch has no such device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return _own_device(next(device for device, there in available.items() if there))
    if not available.get(name, False):
        there = ", ".join(device for device, there in available.items() if there)
        raise SettingsError(f"--device {name}: not available here; there is {there}")
    return _own_device(name)


def _own_device(name: str) -> torch.device:
    """Of several workers on a machine, each takes a GPU of its own."""
    if name != "cuda":
        return torch.device(name)
    (rank, here), there = local_place(), torch.cuda.device_count()
    if here > there:
        raise SettingsError(f"{here} workers on this machine: needed at most {there}, one a GPU")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)
