"""What the checks work on: a backbone by name, built as often as they need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from l2l_omniglot._util.rng import all_random, derive_seed
from l2l_omniglot.backbones.batch_norm import use_batch_statistics
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.meta.learner import Learner

WAYS = 5
INNER_LR = 0.01  # small: any sound network stays finite


@dataclass(frozen=True)
class Check:
    """One clause of the contract.

    Attributes:
        name: a few words.
        run: tries it; may return a note, or raises with the reason why it is broken.
        fix: what to do where it is broken.
        required: whether a backbone must pass; else it is advice.
        needs: names of checks without which it says nothing.
    """

    name: str
    run: Callable[[Candidate], str | None]
    fix: str
    required: bool = True
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A registered backbone.

    Attributes:
        name: as `--backbone` takes it.
    """

    name: str

    def build(
        self,
        ways: int = WAYS,
        channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        seed: int = 0,
        **options: object,
    ) -> nn.Module:
        """Builds it as a training run does, from a seed."""
        with all_random("contract", seed):
            return make_backbone(
                self.name, ways=ways, channels=channels, image_size=image_size, **options
            )

    def network(self, ways: int = WAYS, seed: int = 0) -> nn.Module:
        """Builds it with weights off their special first values, normalised by batch statistics."""
        network = self.build(ways, seed=seed, init="zero")
        use_batch_statistics(network)
        with torch.no_grad(), all_random("contract", "off", seed):
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return network

    def learner(self, ways: int = WAYS) -> Learner:
        """Makes such a network a learner."""
        return Learner(self.network(ways), INNER_LR)


def images(
    count: int, channels: int = 1, size: int | tuple[int, int] = 28, key: object = "images"
) -> torch.Tensor:
    """Draws random images: float32 (count, channels, H, W) in [0, 1], the same for the same key."""
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(derive_seed("contract", key))
    return torch.rand(count, channels, height, width, generator=generator)


def some_task(key: object = "task", ways: int = WAYS) -> Task:
    """Makes a task of random images: 2 shots, 3 queries a class."""
    labels = torch.arange(ways)
    support, query = images(2 * ways, key=(key, "support")), images(3 * ways, key=(key, "query"))
    return Task(support, labels.repeat(2), query, labels.repeat(3), tuple(range(ways)))
