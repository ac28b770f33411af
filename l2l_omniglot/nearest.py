"""Baselines without an inner loop: nearest neighbour on pixels, nearest class mean of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from l2l_omniglot.choices import BATCH_NORMS
from l2l_omniglot.engines.clones import forward
from l2l_omniglot.errors import BackboneError, SettingsError, check_name
from l2l_omniglot.evaluation import TaskStream, half_width, mean
from l2l_omniglot.experiment import Experiment, build_learner
from l2l_omniglot.learner import Learner
from l2l_omniglot.normalisation import normalised_by
from l2l_omniglot.randomness import all_random
from l2l_omniglot.rates import head_layer
from l2l_omniglot.tasks import Task


class Baseline:
    """How a baseline does on many tasks.

    Attributes:
        accuracy: mean over tasks, a fraction in [0, 1].
        ci95: half width of its 95 % confidence interval.
    """

    def __init__(self, accuracies: list[float]) -> None:
        if len(accuracies) < 2:
            raise SettingsError(f"{len(accuracies)} tasks: needed at least 2")
        self.accuracy, self.ci95 = mean(accuracies), half_width(accuracies)


def baselines(
    experiment: Experiment, tasks: TaskStream, count: int, batch_norms: Sequence[str]
) -> dict[str, Baseline]:
    """All of them on the same tasks, by name: pixels, untrained features, trained features.

    Args:
        experiment: whose learner is the trained one.
        tasks: stream of tasks.
        count: how many of them, at least 2.
        batch_norms: of the features, see `Learner.score_steps`.
    """
    stack = experiment.stack
    untrained = build_learner(experiment.settings, stack.channels, stack.image_size)
    untrained.backbone.to(experiment.learner.device)
    found = {"nearest neighbour, pixels": nearest_pixels(tasks, count)}
    for what, learner in (("untrained", untrained), ("trained", experiment.learner)):
        for mode in batch_norms:
            name = f"class means, {what} features, {mode}"
            found[name] = nearest_class_mean(learner, tasks, count, mode)
    return found


def nearest_pixels(tasks: TaskStream, count: int) -> Baseline:
    """Every query gets the class of the support image nearest to it in pixels (Euclidean).

    Args:
        tasks: stream of tasks.
        count: how many of them, at least 2.
    """

    def accuracy(task: Task) -> float:
        distances = torch.cdist(task.query.flatten(1), task.support.flatten(1))
        return _share_right(task.support_labels[distances.argmin(dim=1)], task)

    return Baseline([accuracy(task) for task in tasks.batch(0, count)])


def nearest_class_mean(
    learner: Learner, tasks: TaskStream, count: int, batch_norm: str = "transductive"
) -> Baseline:
    """Every query gets the class whose support images have the nearest mean of features.

    Features are what the backbone's head sees, unadapted; distances are Euclidean, as in Snell
    et al. 2017.

    Args:
        learner: its backbone gives the features.
        tasks: stream of tasks.
        count: how many of them, at least 2.
        batch_norm: see `Learner.score_steps`.

    Raises:
        BackboneError: if the backbone's head is not used exactly once a pass.
        SettingsError: if `count` is too small or `batch_norm` unknown.
    """
    name = head_layer(learner.backbone)

    def features(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        return _head_input(network, f"module.{name}" if name else "module", images)

    check_name("batch norm", batch_norm, BATCH_NORMS)

    def accuracy(task: Task) -> float:
        network = learner.reference.start(1, first_order=True).network
        support = features(network, task.support)
        if batch_norm == "inductive":
            query = normalised_by(network, task.support, task.query, features)
        else:
            query = features(network, task.query)
        ways = len(task.classes)
        means = torch.stack([support[task.support_labels == way].mean(0) for way in range(ways)])
        return _share_right(torch.cdist(query, means).argmin(dim=1), task)

    with learner.evaluating(), all_random("nearest", tasks.seed, tasks.name), torch.no_grad():
        drawn = (task.to(learner.device, learner.dtype) for task in tasks.batch(0, count))
        return Baseline([accuracy(task) for task in drawn])


def _head_input(network: nn.Module, name: str, images: torch.Tensor) -> torch.Tensor:
    """What the layer of that name is given for the images, flattened: (B, features)."""
    seen: list[torch.Tensor] = []
    head = network.get_submodule(name)
    original = head.forward

    def look(batch: torch.Tensor) -> Any:
        seen.append(batch)
        return original(batch)

    head.forward = look
    try:
        forward(network, images)
    finally:
        del head.forward
    if len(seen) != 1:
        raise BackboneError(f"the backbone uses its last layer {len(seen)} times; needed once")
    features: torch.Tensor = seen[0].flatten(1)
    return features


def _share_right(labels: torch.Tensor, task: Task) -> float:
    return float((labels == task.query_labels).double().mean())
