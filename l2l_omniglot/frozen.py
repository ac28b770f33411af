"""A network whose batch normalisation has one support set's statistics for good."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from l2l_omniglot.engines.clones import forward
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.normalisation import Moments, check_independence, moments


def freeze(network: nn.Module, support: torch.Tensor) -> nn.Module:
    """A copy in evaluation mode, whose batch normalisation has the support set's statistics.

    Args:
        network: batch normalisation by the batch at hand.
        support: images (B, channels, H, W) in [0, 1].

    Raises:
        BackboneError: if a layer is not torch's own or used more than once in a forward pass,
            or if images see each other otherwise.
    """
    frozen = copy.deepcopy(network).eval()
    named = frozen.named_modules()
    layers = {name: layer for name, layer in named if isinstance(layer, _BatchNorm)}
    found: dict[str, list[Moments]] = {name: [] for name in layers}
    for name, layer in layers.items():
        if type(layer).forward is not _BatchNorm.forward:
            raise BackboneError(
                f"{type(layer).__name__} {name!r} does something else than torch's batch "
                "normalisation, so it cannot be exported; needed nn.BatchNorm1d, 2d or 3d"
            )
        layer.register_forward_pre_hook(_note(found[name]))
    with torch.no_grad():
        forward(frozen, support)
    for name, layer in layers.items():
        layer._forward_pre_hooks.clear()
        if len(found[name]) > 1:
            raise BackboneError(
                f"its batch normalisation {name!r} is used {len(found[name])} times in a forward "
                "pass, with other statistics each, so it cannot be exported; needed once"
            )
        for variance, mean in found[name]:
            layer.track_running_stats = True
            layer.running_mean, layer.running_var = mean, variance
    with torch.no_grad():
        check_independence(lambda images: forward(frozen, images), support)
    return frozen


def _note(found: list[Moments]) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
    def hook(_layer: nn.Module, given: tuple[torch.Tensor]) -> None:
        found.append(moments(given[0]))

    return hook
