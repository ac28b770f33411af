"""The backbone under test, built from its name as often as checks need it, and random data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn

from l2l_omniglot._util.rng import all_random, derive_seed, reseed
from l2l_omniglot.backbones.heads import convert
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.meta.learner import Learner

WAYS = 5
INNER_LR = 0.01  # small: any sound network stays finite


@dataclass
class Candidate:
    """A registered backbone.

    Attributes:
        name: its registered name.
        ways: numbers of ways that it is checked with; those for which it cannot be built go.
        bare: whether it is built without keywords that it may not know.
        seeded: whether each forward pass draws the same random numbers.
        got_round: names of checks that it fails in a way that later ones need not suffer from.
    """

    name: str
    ways: tuple[int, ...] = (2, WAYS, 20)
    bare: bool = False
    seeded: bool = False
    got_round: set[str] = field(default_factory=set)

    def build(self, ways: int = WAYS, seed: int = 0, **options: Any) -> nn.Module:
        """Builds it as a training run does, from a seed."""
        if self.bare:
            options = {
                name: options[name] for name in ("channels", "image_size") if name in options
            }
        with all_random("contract", seed):
            return make_backbone(self.name, ways=ways, **options)

    def network(self, ways: int = WAYS, seed: int = 0) -> nn.Module:
        """Builds it with perturbed initial weights, normalising by batch statistics."""
        network = convert(self.build(ways, seed, init="zero"))
        with torch.no_grad(), all_random("contract", "off", seed):
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        if self.seeded:
            network.register_forward_pre_hook(lambda *_: reseed("contract", "pass"))
        return network

    def learner(self, ways: int = WAYS) -> Learner:
        """Wraps such a network in a learner."""
        return Learner(self.network(ways), INNER_LR)


Run: TypeAlias = Callable[[Candidate], str | None]


@dataclass(frozen=True)
class Check:
    """One clause of the contract.

    Attributes:
        name: a few words.
        fix: how to repair a backbone that fails.
        needs: names of the checks that must pass before this one makes sense.
        required: whether a backbone must pass; otherwise it is advice.
        run: tests a backbone; may return a note, raises with the reason if it fails.
    """

    name: str
    fix: str
    needs: tuple[str, ...]
    required: bool
    run: Run


CHECKS: list[Check] = []


def check(name: str, *needs: Check, required: bool = True) -> Callable[[Run], Check]:
    """Decorates a test of a backbone, the next of `CHECKS`; its docstring is the fix."""

    def add(run: Run) -> Check:
        fix = " ".join((run.__doc__ or "").split()).rstrip(".")
        names = tuple(need.name for need in needs)
        CHECKS.append(Check(name, fix[:1].lower() + fix[1:], names, required, run))
        return CHECKS[-1]

    return add


def images(
    count: int, channels: int = 1, size: int | tuple[int, int] = 28, key: object = "images"
) -> torch.Tensor:
    """Draws random images: float32 (count, channels, H, W) in [0, 1], the same for the same key."""
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(derive_seed("contract", key))
    return torch.rand(count, channels, height, width, generator=generator)


def some_task(key: object = "task", ways: int = WAYS) -> Task:
    """Makes a task of random images: 2 shots and 3 queries per class."""
    labels = torch.arange(ways)
    support, query = images(2 * ways, key=(key, "support")), images(3 * ways, key=(key, "query"))
    return Task(support, labels.repeat(2), query, labels.repeat(3), tuple(range(ways)))
