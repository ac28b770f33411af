"""Imports learn2learn 0.2.0 on a current Python; all other modules take ``l2l`` from here.

learn2learn has been quiet since 2023, and three of its imports need care:

1. torchvision's wheel on PyPI is built for CUDA. Beside a CPU-only torch its operator library
   does not load, and ``import torchvision`` fails with "operator torchvision::nms does not
   exist". Declaring the schemas of its two operators is enough for all that learn2learn uses.
2. gym 0.26 prints four lines about its own end of life. They are removed from the table they
   are read from; nothing else is silenced.
3. torchvision's models and operators, and cvxpy, take most of the time to import, and are seldom
   used. They are loaded on first use.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_SPARED = ("torchvision.models", "torchvision.ops", "cvxpy")
_OPERATORS = ("nms", "qnms")
# A torch.library.Library forgets its schemas when it is garbage-collected.
_declared: list[torch.library.Library] = []


def _declare_torchvision_operators() -> None:
    if torch.version.cuda is not None or torch.version.hip is not None or _operators_load():
        return  # torchvision brings its own
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    _declared.append(library)


def _operators_load() -> bool:
    """Returns whether torchvision's compiled library loads (CPU wheels' does)."""
    package = importlib.util.find_spec("torchvision")
    if package is None or not package.submodule_search_locations:
        return False
    extension = importlib.machinery.PathFinder.find_spec("_C", package.submodule_search_locations)
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except OSError:
        return False
    return True


@contextmanager
def _loaded_when_used(name: str) -> Iterator[None]:
    """Makes imports inside the block return a stand-in that loads the module on first use."""
    if name in sys.modules:
        yield
        return
    stand_in = types.ModuleType(name)

    def find(attribute: str) -> Any:
        if attribute.startswith("__"):  # inspect, which torch uses, asks every module for its file
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:  # used while learn2learn is still being imported
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = find  # type: ignore[method-assign]  # PEP 562
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def _import_learn2learn() -> Any:
    _declare_torchvision_operators()
    with suppress(ImportError):
        importlib.import_module("gym_notices.notices").notices.clear()
    with ExitStack() as stack:
        for name in _SPARED:
            stack.enter_context(_loaded_when_used(name))
        return importlib.import_module("learn2learn")


l2l = _import_learn2learn()
