"""The loops to compare: one meta-update of about 8 tasks, written three ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy, linear, max_pool2d, relu

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.data.tasks import Task, Tasks
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import Trainer

Update = Callable[[], None]


def learn2learn_loop(
    tasks: Sequence[Task], network: nn.Module, lr: float, steps: int, first_order: bool
) -> Update:
    """The loop of learn2learn's documentation: clone, adapt, backward."""
    maml = l2l.algorithms.MAML(network, lr=lr, first_order=first_order)
    optimizer = torch.optim.Adam(maml.parameters(), lr=1e-3)
    tasks = [task.to(next(network.parameters()).device) for task in tasks]

    def update() -> None:
        optimizer.zero_grad()
        for task in tasks:
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(cross_entropy(learner(task.support), task.support_labels))
            loss = cross_entropy(learner(task.query), task.query_labels)
            (loss / len(tasks)).backward()
        optimizer.step()

    return update


def tutorial_loop(tasks: Sequence[Task], network: BaseNet, lr: float, steps: int) -> Update:
    """The tutorial's loop: functional, first order, scores the query set after every step.

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
    """BaseNet as the tutorial writes it."""
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
) -> Update:
    """This package's `Trainer`, with one of its engines."""
    learner = Learner(network, lr, first_order, engine)
    drawn = Drawn(tasks)
    trainer = Trainer(learner, drawn, meta_batch_size=len(tasks), inner_steps=steps, meta_lr=1e-3)

    def update() -> None:
        trainer.step()

    return update
