"""Evaluation mode for a while, of a network that threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = threading.Lock()
_BLOCKS: WeakKeyDictionary[nn.Module, list[dict[nn.Module, bool]]] = WeakKeyDictionary()


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Puts a network into evaluation mode (no dropout) for the block.

    The last of several blocks at a time, of any threads, puts back the modes that were before the
    first.
    """
    with _LOCK:
        blocks = _BLOCKS.setdefault(network, [])
        modes = {module: module.training for module in network.modules()}
        blocks.append(blocks[0] if blocks else modes)
        network.eval()
    try:
        yield
    finally:
        with _LOCK:
            before = blocks.pop()
            for module, training in before.items() if not blocks else ():
                module.training = training
