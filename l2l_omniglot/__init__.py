"""MAML on Omniglot, on top of learn2learn: data, tasks, learner, training, evaluation.

Names are loaded when first used: ``import l2l_omniglot`` loads no torch, and leaves environment and
allocator alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2l_omniglot._util.process import keep_freed_memory as keep_freed_memory
    from l2l_omniglot._util.process import prepare_process as prepare_process
    from l2l_omniglot.backbones.basenet import BaseNet as BaseNet
    from l2l_omniglot.backbones.registry import list_backbones as list_backbones
    from l2l_omniglot.backbones.registry import make_backbone as make_backbone
    from l2l_omniglot.classify.estimator import FewShotClassifier as FewShotClassifier
    from l2l_omniglot.data.omniglot import prepare_stack as prepare_stack
    from l2l_omniglot.data.splits import Splits as Splits
    from l2l_omniglot.data.splits import make_splits as make_splits
    from l2l_omniglot.data.stack import ImageStack as ImageStack
    from l2l_omniglot.data.stack import load_stack as load_stack
    from l2l_omniglot.data.synthetic import synthetic_stack as synthetic_stack
    from l2l_omniglot.data.tasks import Task as Task
    from l2l_omniglot.data.tasks import Tasks as Tasks
    from l2l_omniglot.errors import L2LOmniglotError as L2LOmniglotError
    from l2l_omniglot.experiments.experiment import Experiment as Experiment
    from l2l_omniglot.experiments.learners import load_pretrained as load_pretrained
    from l2l_omniglot.experiments.readers import open_data as open_data
    from l2l_omniglot.experiments.settings import Settings as Settings
    from l2l_omniglot.experiments.settings import make_settings as make_settings
    from l2l_omniglot.meta.evaluation import Evaluation as Evaluation
    from l2l_omniglot.meta.evaluation import evaluate as evaluate
    from l2l_omniglot.meta.learner import Learner as Learner
    from l2l_omniglot.meta.trainer import Trainer as Trainer

_HOMES = {
    "BaseNet": "backbones.basenet",
    "Evaluation": "meta.evaluation",
    "Experiment": "experiments.experiment",
    "FewShotClassifier": "classify.estimator",
    "ImageStack": "data.stack",
    "L2LOmniglotError": "errors",
    "Learner": "meta.learner",
    "Settings": "experiments.settings",
    "Splits": "data.splits",
    "Task": "data.tasks",
    "Tasks": "data.tasks",
    "Trainer": "meta.trainer",
    "evaluate": "meta.evaluation",
    "keep_freed_memory": "_util.process",
    "list_backbones": "backbones.registry",
    "load_pretrained": "experiments.learners",
    "load_stack": "data.stack",
    "make_backbone": "backbones.registry",
    "make_settings": "experiments.settings",
    "make_splits": "data.splits",
    "open_data": "experiments.readers",
    "prepare_process": "_util.process",
    "prepare_stack": "data.omniglot",
    "synthetic_stack": "data.synthetic",
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
