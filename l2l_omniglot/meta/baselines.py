"""Baselines without an inner loop: nearest neighbour on pixels, prototypes of embeddings."""

from __future__ import annotations

import torch

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.head_starts import class_means
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.errors import check_number
from l2l_omniglot.meta.evaluation import TaskStream, half_width, mean
from l2l_omniglot.meta.learner import Learner


class Baseline:
    """The mean `accuracy` over two or more tasks, in [0, 1], with the half width of its `ci95`."""

    def __init__(self, accuracies: list[float]) -> None:
        check_number("count", len(accuracies), minimum=2)
        self.accuracy, self.ci95 = mean(accuracies), half_width(accuracies)


def nearest_pixels(tasks: TaskStream, count: int) -> Baseline:
    """Predicts for every query the class of the support image with the nearest pixels (Euclidean).

    `count` is the number of tasks, at least 2.
    """

    def accuracy(task: Task) -> float:
        distances = torch.cdist(task.query.flatten(1), task.support.flatten(1))
        return _accuracy(task.support_labels[distances.argmin(dim=1)], task)

    return Baseline([accuracy(task) for task in tasks.batch(0, count)])


def prototype_baseline(
    learner: Learner, tasks: TaskStream, count: int, batch_norm: str = "transductive"
) -> Baseline:
    """Predicts for every query the class with the nearest prototype (Snell et al. 2017).

    A prototype is the mean embedding of a class's support images. Embeddings are the input of
    the backbone's head, without adaptation; distances are Euclidean.

    Args:
        learner: its backbone gives the embeddings.
        tasks: stream of tasks.
        count: number of tasks, at least 2.
        batch_norm: see `Learner.score_steps`.

    Raises:
        BackboneError: if the backbone's head is not used exactly once a pass.
        SettingsError: if `count` is too small or `batch_norm` unknown.
    """
    policy = learner.policy(batch_norm)

    def accuracy(task: Task) -> float:
        weights = learner.reference.start(1, learner.loop())
        support_images = task.support[None]
        moments = policy.for_query(0, lambda: weights.record(support_images))
        support = weights.embeddings(support_images, policy.for_support(0))
        query = weights.embeddings(task.query[None], moments)
        means = class_means(support, task.support_labels[None])
        return _accuracy(torch.cdist(query, means)[0].argmin(dim=1), task)

    with learner.evaluating(), all_random("nearest", tasks.seed, tasks.name), torch.no_grad():
        drawn = (task.to(learner.device, learner.dtype) for task in tasks.batch(0, count))
        return Baseline([accuracy(task) for task in drawn])


def _accuracy(predictions: torch.Tensor, task: Task) -> float:
    return float((predictions == task.query_labels).double().mean())
