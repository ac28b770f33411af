"""The reference engine: learn2learn's MAML, clone and adapt, one task at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.backbones.batch_norm import BatchMoments, Forward, forward_by, record_moments
from l2l_omniglot.backbones.heads import TrainedHead, head_parameters
from l2l_omniglot.meta.engines.fast_weights import Engine, FastWeights
from l2l_omniglot.meta.inner_rates import InnerRates


class Learn2learnEngine(Engine):
    """Computes any backbone, on any device.

    Attributes:
        maml: learn2learn's ``MAML`` around the backbone.
    """

    name = "learn2learn"
    threads_share = "chunks"

    def __init__(
        self, backbone: nn.Module, rates: InnerRates, head: TrainedHead | None = None
    ) -> None:
        super().__init__(backbone, rates, head)
        # With allow_nograd, learn2learn's adapt() lets autograd's errors through; without it
        # prints and swallows them. Parameters a forward pass does not use stay as they are.
        self.maml: Any = l2l.algorithms.MAML(
            backbone, rates.initial, allow_unused=True, allow_nograd=True
        )

    def tasks_at_once(self, pixels: int) -> int:  # noqa: ARG002
        """Returns 1."""
        return 1

    def start(self, tasks: int, first_order: bool) -> Learn2learnWeights:
        """Clones the backbone, for one task."""
        if tasks != 1:
            raise ValueError(f"{tasks} tasks at once: the learn2learn engine takes 1")
        return Learn2learnWeights(self, first_order)


class Learn2learnWeights(FastWeights):
    """A learn2learn clone, adapted in place; T is 1.

    Attributes:
        network: the clone; from (B, channels, H, W) to (B, ways).
    """

    def __init__(self, engine: Learn2learnEngine, first_order: bool) -> None:
        super().__init__(engine, first_order)
        self.network = engine.maml.clone(first_order=first_order)
        _own_buffers(self.network)
        _share_layers(self.network.module, engine.backbone)

    def _forward(
        self, images: torch.Tensor, moments: BatchMoments | None, forward: Forward
    ) -> torch.Tensor:
        return forward_by(self.network.module, moments, images[0], forward)[None]

    def record(self, images: torch.Tensor) -> BatchMoments:
        """See `FastWeights`."""
        with self.autocast(images):
            return record_moments(self.network.module, images[0])

    def head_parameters(self) -> dict[str, torch.Tensor]:
        """See `FastWeights`."""
        named = dict(self.network.module.named_parameters())
        return {name: named[name][None] for name in head_parameters(self._backbone)}

    def restart(self, head: Mapping[str, torch.Tensor]) -> None:
        """See `FastWeights`."""
        original, self.network = self.network.module, self.network.clone()
        _share_layers(self.network.module, original)
        for name, weight in head.items():
            layer, _, own = name.rpartition(".")
            self.network.module.get_submodule(layer)._parameters[own] = weight[0]

    def _adapt(self, loss: torch.Tensor) -> None:
        """Adapts by learn2learn; if some parameters or rates differ, as its `MetaSGD.adapt`."""
        if self._rates.plain:
            self.network.adapt(loss)
            return
        own = dict(self.network.module.named_parameters())
        for name, gradient, rate in self._gradients(loss, own):
            own[name].update = -rate * gradient
        self.network.module = l2l.update_module(self.network.module)


def _own_buffers(module: nn.Module) -> None:
    """Gives a learn2learn clone its own buffers; as made, it shares its original's."""
    for layer in module.modules():
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = buffer.clone()


def _share_layers(clone: nn.Module, original: nn.Module) -> None:
    """Makes one layer of those that are one in the original; learn2learn clones each place."""
    first: dict[nn.Module, str] = {}
    for name, layer in original.named_modules(remove_duplicate=False):
        if first.setdefault(layer, name) != name:
            parent, _, own = name.rpartition(".")
            clone.get_submodule(parent)._modules[own] = clone.get_submodule(first[layer])
