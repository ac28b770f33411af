"""The loops to compare: one meta-update, written as others write it and as this package does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy, linear, max_pool2d, relu
from torch.utils.data import DataLoader, Sampler, TensorDataset

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.conv4 import Conv4
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task, Tasks
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.rules import Rule
from l2l_omniglot.meta.trainer import Trainer

Update = Callable[[], None]


def learn2learn_loop(
    tasks: Sequence[Task],
    network: nn.Module,
    lr: float,
    steps: int,
    first_order: bool,
    adapt: str = "all",
) -> Update:
    """Returns the loop of learn2learn's documentation: clone, adapt, backward.

    With `adapt` ``head``, for BaseNet, it is that of its ANIL example: the features of an image
    are computed once, and the last layer is cloned. Support and query set keep statistics of
    their own here, as in the package.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    tasks = [task.to(next(network.parameters()).device) for task in tasks]
    features: Callable[[torch.Tensor], torch.Tensor] = nn.Identity()
    if adapt == "head":
        assert isinstance(network, BaseNet)
        features, network = network.features, network.linear
    maml = l2l.algorithms.MAML(network, lr=lr, first_order=first_order)

    def update() -> None:
        optimizer.zero_grad()
        for task in tasks:
            learner, support = maml.clone(), features(task.support)
            for _ in range(steps):
                learner.adapt(cross_entropy(learner(support), task.support_labels))
            loss = cross_entropy(learner(features(task.query)), task.query_labels)
            (loss / len(tasks)).backward()
        optimizer.step()

    return update


def tutorial_loop(tasks: Sequence[Task], network: BaseNet, lr: float, steps: int) -> Update:
    """Returns the tutorial's loop: functional, first order, scores the query set after every step.

    Its query losses before and after the first step are not differentiated; of those after the
    later steps the graphs are built, and the last one's is used.
    """
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    tasks = [task.to(parameters[0].device) for task in tasks]

    def score(task: Task, weights: Sequence[torch.Tensor]) -> tuple[torch.Tensor, int]:
        logits = _forward(task.query, weights)
        loss = cross_entropy(logits, task.query_labels)
        return loss, int((logits.argmax(dim=1) == task.query_labels).sum())

    def update() -> None:
        losses = []
        for task in tasks:
            weights: Sequence[torch.Tensor] = parameters
            with torch.no_grad():
                score(task, weights)
            for step in range(1, steps + 1):
                loss = cross_entropy(_forward(task.support, weights), task.support_labels)
                gradients = torch.autograd.grad(loss, weights)
                weights = [w - lr * g for w, g in zip(weights, gradients, strict=True)]
                with torch.set_grad_enabled(step > 1 or steps == 1):
                    query_loss, _ = score(task, weights)
            losses.append(query_loss)
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()

    return update


def _forward(images: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Computes BaseNet as the tutorial writes it."""
    hidden = images
    for block in range(4):
        weight, bias, scale, shift = weights[4 * block : 4 * block + 4]
        hidden = conv2d(hidden, weight, bias, stride=2, padding=2)
        if block == 3:
            hidden = batch_norm(relu(hidden), None, None, scale, shift, training=True)
        else:
            hidden = relu(batch_norm(hidden, None, None, scale, shift, training=True))
        hidden = max_pool2d(hidden, 2)
    return linear(hidden.flatten(1), *weights[16:])


class Drawn(Tasks):
    """A task stream of tasks drawn before."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.seed, self.name, self._drawn = 0, "drawn", tasks

    def __getitem__(self, number: int) -> Task:
        return self._drawn[number % len(self._drawn)]


def package_loop(
    tasks: Sequence[Task],
    network: nn.Module,
    lr: float,
    steps: int,
    first_order: bool,
    engine: str,
    bfloat16: bool = False,
    rule: str | Rule = "maml",
    adapt: str = "all",
) -> Update:
    """This package's `Trainer`, with one of its engines."""
    learner = Learner(network, lr, first_order, engine, adapt=adapt, bfloat16=bfloat16, rule=rule)
    drawn = Drawn(tasks)
    trainer = Trainer(learner, drawn, meta_batch_size=len(tasks), inner_steps=steps, meta_lr=1e-3)

    def update() -> None:
        trainer.step()

    return update


class _Episodes(Sampler[list[int]]):
    """Draws the images of episode after episode: ways classes, and items of each, item by item."""

    def __init__(self, classes: int, drawers: int, ways: int, items: int) -> None:
        self.sizes, self.random = (classes, drawers, ways, items), np.random.default_rng(0)

    def __iter__(self) -> Iterator[list[int]]:
        classes, drawers, ways, items = self.sizes
        while True:
            chosen = self.random.choice(classes, ways, replace=False)
            picked = [self.random.choice(drawers, items, replace=False) for _ in chosen]
            yield (np.stack(picked, axis=1) + chosen * drawers).flatten().tolist()


def plain_protonet_loop(
    stack: ImageStack, network: Conv4, ways: int, shots: int, queries: int
) -> Update:
    """Prototypical networks as others train them: a loader that joins images, float32, NCHW.

    Written anew after learnables/learn2learn, examples/vision/protonet_miniimagenet.py (a batch
    sampler, one pass for support and query set), and sicara/easy-few-shot-learning,
    easyfsl/samplers/task_sampler.py and easyfsl/methods/prototypical_networks.py (items of a
    class joined one by one, distances by `torch.cdist`). ReLU comes before max-pool, as there.
    """
    blocks = [list(block.children()) for block in network.blocks]
    embed = nn.Sequential(
        *(nn.Sequential(conv, norm, relu, pool) for conv, norm, pool, relu in blocks)
    )
    classes, drawers = stack.classes, stack.images_per_class[0]
    images = torch.cat([stack.images([c] * drawers, range(drawers)) for c in range(classes)])
    sampler = _Episodes(classes, drawers, ways, shots + queries)
    labels = torch.arange(ways).repeat(queries)
    loader = iter(DataLoader(TensorDataset(images), batch_sampler=sampler))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def update() -> None:
        (batch,) = next(loader)
        embeddings = embed(batch).flatten(1)
        support, query = embeddings[: ways * shots], embeddings[ways * shots :]
        prototypes = support.view(shots, ways, -1).mean(dim=0)
        loss = cross_entropy(-torch.cdist(query, prototypes).square(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def package_protonet_loop(
    stack: ImageStack, network: Conv4, ways: int, shots: int, queries: int, bfloat16: bool
) -> Update:
    """This package's `Trainer` as ``--algorithm protonet`` sets it up."""
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(network, 0.4, inner_steps=0, head="prototypes", bfloat16=bfloat16)
    tasks = Tasks(stack, range(stack.classes), ways=ways, shots=shots, queries=queries)
    trainer = Trainer(learner, tasks, meta_batch_size=1, inner_steps=0, meta_lr=1e-3)

    def update() -> None:
        trainer.step()

    return update
