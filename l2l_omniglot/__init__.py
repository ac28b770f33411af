"""MAML on Omniglot, on top of learn2learn: data, tasks, learner, training, evaluation.

Names are loaded when first used: ``import l2l_omniglot`` loads no torch, and leaves environment and
allocator alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2l_omniglot.backbones import list_backbones as list_backbones
    from l2l_omniglot.backbones import make_backbone as make_backbone
    from l2l_omniglot.basenet import BaseNet as BaseNet
    from l2l_omniglot.data import open_data as open_data
    from l2l_omniglot.errors import L2LOmniglotError as L2LOmniglotError
    from l2l_omniglot.estimator import FewShotClassifier as FewShotClassifier
    from l2l_omniglot.evaluation import Evaluation as Evaluation
    from l2l_omniglot.evaluation import evaluate as evaluate
    from l2l_omniglot.experiment import Experiment as Experiment
    from l2l_omniglot.learner import Learner as Learner
    from l2l_omniglot.learners import load_pretrained as load_pretrained
    from l2l_omniglot.omniglot import prepare_stack as prepare_stack
    from l2l_omniglot.process import keep_freed_memory as keep_freed_memory
    from l2l_omniglot.process import prepare_process as prepare_process
    from l2l_omniglot.settings import Settings as Settings
    from l2l_omniglot.settings import make_settings as make_settings
    from l2l_omniglot.splits import Splits as Splits
    from l2l_omniglot.splits import make_splits as make_splits
    from l2l_omniglot.stack import ImageStack as ImageStack
    from l2l_omniglot.stack import load_stack as load_stack
    from l2l_omniglot.synthetic import synthetic_stack as synthetic_stack
    from l2l_omniglot.tasks import Task as Task
    from l2l_omniglot.tasks import Tasks as Tasks
    from l2l_omniglot.trainer import Trainer as Trainer

_HOMES = {
    "BaseNet": "basenet",
    "Evaluation": "evaluation",
    "Experiment": "experiment",
    "FewShotClassifier": "estimator",
    "ImageStack": "stack",
    "L2LOmniglotError": "errors",
    "Learner": "learner",
    "Settings": "settings",
    "Splits": "splits",
    "Task": "tasks",
    "Tasks": "tasks",
    "Trainer": "trainer",
    "evaluate": "evaluation",
    "keep_freed_memory": "process",
    "list_backbones": "backbones",
    "load_pretrained": "learners",
    "load_stack": "stack",
    "make_backbone": "backbones",
    "make_settings": "settings",
    "make_splits": "splits",
    "open_data": "data",
    "prepare_process": "process",
    "prepare_stack": "omniglot",
    "synthetic_stack": "synthetic",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("l2l-omniglot")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
