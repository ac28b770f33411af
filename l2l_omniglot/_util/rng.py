"""Random streams that depend on a key only and leave global generators as they were."""

from __future__ import annotations

import hashlib
import pickle
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# The generators are the process's: the threads' blocks follow each other.
_TURN = threading.RLock()


def derive_seed(*key: object) -> int:
    """Turns a key such as ``("train", seed, task number)`` into a seed in [0, 2**63).

    The seed is made by SHA-256, so it is the same in every process and on every machine.
    """
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def python_random(*key: object) -> Iterator[None]:
    """Seeds Python's global ``random``, which learn2learn's transforms use, inside the block."""
    with _TURN:
        state = random.getstate()
        random.seed(derive_seed(*key))
        try:
            yield
        finally:
            random.setstate(state)


@contextmanager
def all_random(*key: object) -> Iterator[None]:
    """Seeds Python's, NumPy's and torch's global generators inside the block.

    Building a backbone may draw from any of them (learn2learn's OmniglotFC uses NumPy's).
    """
    import numpy as np
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with python_random(*key), torch.random.fork_rng(devices=devices):
        numpy_state = np.random.get_state()
        reseed(*key)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)


def random_states() -> bytes:
    """Returns the states of the global generators, those of CUDA included, to compare."""
    import numpy as np
    import torch

    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = [state.numpy() for state in (torch.get_rng_state(), *devices)]
    return pickle.dumps((random.getstate(), np.random.get_state(), states))


def reseed(*key: object) -> None:
    """Seeds the three global generators again; only for use inside `all_random`."""
    import numpy as np
    import torch

    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
