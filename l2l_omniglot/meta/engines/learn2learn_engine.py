"""The reference engine: learn2learn's MAML, clone and adapt, one task at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.backbones.batch_norm import BatchMoments, forward_by, record_moments
from l2l_omniglot.backbones.heads import TrainedHead, embed, head_name, layer_of
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.fast_weights import FastWeights
from l2l_omniglot.meta.inner_rates import InnerRates


class Learn2learnEngine:
    """Any backbone, on any device.

    Args:
        backbone: see `Learner`.
        rates: of the inner loop.
        head: how each task's head starts; as trained by default.

    Attributes:
        maml: learn2learn's ``MAML`` around the backbone.
        rates: of the inner loop.
        head: how each task's head starts.
    """

    name = "learn2learn"
    threads_share = "chunks"

    def __init__(
        self, backbone: nn.Module, rates: InnerRates, head: TrainedHead | None = None
    ) -> None:
        # With allow_nograd, learn2learn's adapt() lets autograd's errors through; without it
        # prints and swallows them. Parameters a forward pass does not use stay as they are.
        self.rates, self.head = rates, head or TrainedHead()
        self.maml: Any = l2l.algorithms.MAML(
            backbone, rates.initial, allow_unused=True, allow_nograd=True
        )

    def tasks_at_once(self, _pixels: int) -> int:
        """One."""
        return 1

    def start(self, tasks: int, first_order: bool) -> Learn2learnWeights:
        """A clone of the backbone, for one task."""
        if tasks != 1:
            raise ValueError(f"{tasks} tasks at once: the learn2learn engine takes 1")
        self.rates.check(self.maml.module)
        return Learn2learnWeights(self, first_order)


class Learn2learnWeights(FastWeights):
    """A learn2learn clone, adapted in place.

    Attributes:
        network: the clone; from (B, channels, H, W) to (B, ways).
        head: see `FastWeights`.
    """

    def __init__(self, engine: Learn2learnEngine, first_order: bool) -> None:
        self.head, self._rates = engine.head, engine.rates
        self._parameters = trained_parameters(engine.maml.module, self._rates, self.head)
        self.network = engine.maml.clone(first_order=first_order)
        self._first_order, self._step = first_order, 0
        self._losses: list[torch.Tensor] = []
        _own_buffers(self.network)
        _share_layers(self.network.module, engine.maml.module)

    def logits(self, images: torch.Tensor, moments: BatchMoments | None = None) -> torch.Tensor:
        """See `FastWeights`; T is 1."""
        return forward_by(self.network.module, moments, images[0])[None]

    def record(self, images: torch.Tensor) -> BatchMoments:
        """See `FastWeights`."""
        return record_moments(self.network.module, images[0])

    def embeddings(self, images: torch.Tensor, moments: BatchMoments | None = None) -> torch.Tensor:
        """See `FastWeights`."""
        network = self.network.module
        features = partial(embed, head=head_name(network))
        return forward_by(network, moments, images[0], features)[None]

    def head_parameters(self) -> dict[str, torch.Tensor]:
        """See `FastWeights`."""
        head = head_name(self.network.module)
        named = self.network.module.named_parameters()
        return {name: weight[None] for name, weight in named if layer_of(name) == head}

    def restart(self, head: Mapping[str, torch.Tensor]) -> None:
        """See `FastWeights`."""
        original, self.network = self.network.module, self.network.clone()
        _share_layers(self.network.module, original)
        for name, weight in head.items():
            layer, _, own = name.rpartition(".")
            self.network.module.get_submodule(layer)._parameters[own] = weight[0]

    def step(self, losses: torch.Tensor) -> None:
        """See `FastWeights`."""
        try:
            if self._rates.plain:
                self.network.adapt(losses.sum())
            else:
                self._adapt(losses.sum())
        except RuntimeError as error:
            raise BackboneError(f"the inner loop cannot differentiate: {error}") from error
        self._step += 1

    def _adapt(self, loss: torch.Tensor) -> None:
        """As learn2learn's `MAML.adapt` and `MetaSGD.adapt`, of some parameters by any rates."""
        own = dict(self.network.module.named_parameters())
        adapted = [own[name] for name in self._rates.names]
        gradients = torch.autograd.grad(
            loss, adapted, create_graph=not self._first_order, allow_unused=True
        )
        for name, parameter, gradient in zip(self._rates.names, adapted, gradients, strict=True):
            if gradient is not None:
                parameter.update = -self._rates.rate(name, self._step) * gradient
        self.network.module = l2l.update_module(self.network.module)

    def add_loss(self, losses: torch.Tensor) -> None:
        """See `FastWeights`."""
        self._losses.append(losses)

    def meta_gradient(self) -> tuple[torch.Tensor | None, ...]:
        """See `FastWeights`."""
        return differentiate(self._losses, self._parameters)


def trained_parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """Those that require gradients, of a backbone, its inner rates and its head's start."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def differentiate(
    losses: list[torch.Tensor], parameters: list[nn.Parameter] | list[torch.Tensor]
) -> tuple[torch.Tensor | None, ...]:
    """Gradient of the sum of the losses; None for parameters that play no part.

    Raises:
        BackboneError: if the losses depend on none of them.
    """
    try:
        total = torch.stack(losses).sum()
        return torch.autograd.grad(total, parameters, allow_unused=True)
    except (RuntimeError, ValueError) as error:
        raise BackboneError(f"the query loss has no gradient: {error}") from error


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
