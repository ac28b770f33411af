"""The reference engine: learn2learn's MAML, clone and adapt, one task at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from l2l_omniglot.compat import l2l
from l2l_omniglot.engines.fast_weights import FastWeights
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.normalisation import normalised_by
from l2l_omniglot.rates import InnerRates


class CloneEngine:
    """Any backbone, on any device.

    Args:
        backbone: see `Learner`.
        rates: of the inner loop.

    Attributes:
        maml: learn2learn's ``MAML`` around the backbone.
        rates: of the inner loop.
    """

    name = "learn2learn"
    threads_share = "chunks"

    def __init__(self, backbone: nn.Module, rates: InnerRates) -> None:
        # With allow_nograd, learn2learn's adapt() lets autograd's errors through; without it
        # prints and swallows them. Parameters a forward pass does not use stay as they are.
        self.rates = rates
        self.maml: Any = l2l.algorithms.MAML(
            backbone, rates.initial, allow_unused=True, allow_nograd=True
        )

    def tasks_at_once(self, _pixels: int) -> int:
        """One."""
        return 1

    def start(self, tasks: int, first_order: bool) -> Clone:
        """A clone of the backbone, for one task."""
        if tasks != 1:
            raise ValueError(f"{tasks} tasks at once: the learn2learn engine takes 1")
        self.rates.check(self.maml.module)
        return Clone(self.maml, self.rates, first_order)


class Clone(FastWeights):
    """A learn2learn clone, adapted in place.

    Attributes:
        network: the clone; from (B, channels, H, W) to (B, ways).
    """

    def __init__(self, maml: Any, rates: InnerRates, first_order: bool) -> None:
        self._parameters = trained_parameters(maml.module, rates)
        self.network = maml.clone(first_order=first_order)
        self._rates, self._first_order, self._step = rates, first_order, 0
        self._losses: list[torch.Tensor] = []
        _own_buffers(self.network)

    def logits(
        self, images: torch.Tensor, statistics_of: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See `FastWeights`; T is 1."""
        if statistics_of is None:
            return forward(self.network, images[0])[None]
        return normalised_by(self.network, statistics_of[0], images[0], forward)[None]

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
                parameter.update = -self._rates.at(name, self._step) * gradient
        self.network.module = l2l.update_module(self.network.module)

    def add_loss(self, losses: torch.Tensor) -> None:
        """See `FastWeights`."""
        self._losses.append(losses)

    def meta_gradient(self) -> tuple[torch.Tensor | None, ...]:
        """See `FastWeights`."""
        return differentiate(self._losses, self._parameters)


def trained_parameters(backbone: nn.Module, rates: InnerRates) -> list[nn.Parameter]:
    """Those of the backbone that require gradients, then those of the rates."""
    return [p for p in (*backbone.parameters(), *rates.parameters()) if p.requires_grad]


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


def forward(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (B, ways) of images (B, channels, H, W).

    Raises:
        BackboneError: if the network fails, or returns another shape.
    """
    try:
        logits = network(images)
    except Exception as error:  # a stranger's network may raise anything
        raise BackboneError(
            f"the backbone fails on images of shape {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise BackboneError(f"the backbone returned {type(logits).__name__}; needed a tensor")
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != len(images):
        raise BackboneError(f"the backbone returned {shape}; needed logits ({len(images)}, ways)")
    return logits


def _own_buffers(module: nn.Module) -> None:
    """Gives a learn2learn clone its own buffers; as made, it shares its original's."""
    for layer in module.modules():
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = buffer.clone()
