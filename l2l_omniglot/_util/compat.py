"""Imports learn2learn 0.2.0 on a current Python. Everybody else takes ``l2l`` from here.

learn2learn has been quiet since 2023, and of what it imports three things need care:

1. ``import learn2learn`` imports torchvision. The torchvision wheel on the Python package
   index is built for CUDA; next to a CPU-only torch its operator library does not load, and
   ``import torchvision`` dies with "operator torchvision::nms does not exist", because its
   Python side registers shape functions for two operators nobody declared. Declaring the two
   schemas is enough: data sets and transforms, all that learn2learn uses, need no operator.
2. It imports gym 0.26, which prints four lines about its own end of life to stderr. Its
   notice is taken out of the table it is read from; nothing else is silenced.
3. It imports torchvision's models and operators along with its data sets, and cvxpy along with
   qpth, for MetaOptNet. They take most of the time, so they are loaded when something of them is
   used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_SPARED = ("torchvision.models", "torchvision.ops", "cvxpy")
_OPERATORS = ("nms", "qnms")
# A torch.library.Library forgets its schemas when it is collected, so it is kept here.
_declared: list[torch.library.Library] = []


def _declare_torchvision_operators() -> None:
    """Declares torchvision's operators where its own library cannot be loaded."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        return  # the wheel fits this torch and brings its own
    if _operators_load():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    _declared.append(library)


def _operators_load() -> bool:
    """Whether torchvision's compiled library loads beside this torch (it does for CPU wheels)."""
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return False
    extension = importlib.machinery.PathFinder.find_spec("_C", found.submodule_search_locations)
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except OSError:
        return False
    return True


def _drop_gym_notice() -> None:
    """Empties the table gym prints its end-of-life notice from."""
    try:
        notices = importlib.import_module("gym_notices.notices")
    except ImportError:
        return
    notices.notices.clear()


@contextmanager
def _loaded_when_used(name: str) -> Iterator[None]:
    """Inside the block, importing a module gives a stand-in that imports it when it is used.

    What has taken the stand-in keeps it.
    """
    if name in sys.modules:
        yield
        return
    stand_in = types.ModuleType(name)

    def find(what: str) -> Any:
        if what.startswith("__"):  # inspect, which torch uses, asks every module for its file
            raise AttributeError(what)
        return getattr(importlib.import_module(name), what)

    stand_in.__getattr__ = find  # type: ignore[method-assign]  # PEP 562
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def import_learn2learn() -> Any:
    """Imports learn2learn quietly beside NumPy 1.26 or 2.x and any build of torch.

    Returns:
        The module ``learn2learn``.

    Raises:
        ImportError: if learn2learn is not installed.
    """
    _declare_torchvision_operators()
    _drop_gym_notice()
    with ExitStack() as stack:
        for name in _SPARED:
            stack.enter_context(_loaded_when_used(name))
        return importlib.import_module("learn2learn")


l2l = import_learn2learn()
