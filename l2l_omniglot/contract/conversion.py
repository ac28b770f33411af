"""Check that a backbone stays the same when a learner converts its layers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.backbones.heads import convert
from l2l_omniglot.contract.candidate import WAYS, Candidate, check, images
from l2l_omniglot.contract.gradients import SOUND
from l2l_omniglot.contract.tasks import independent, trains_alike
from l2l_omniglot.errors import BackboneError


@check("converted", *SOUND, independent, trains_alike)
def converted(candidate: Candidate) -> None:
    """Register normalisation as attributes, or in nn.ModuleList, and do not ask for its class.

    A learner puts other layers, with the same parameters, in the place of batch normalisation and
    of a linear head.
    """
    plain = candidate.build(init="zero")
    _check_kept(plain)
    network = candidate.network().train()
    plain.load_state_dict(network.state_dict(), strict=False)  # all but running statistics
    logits, expected = (_pass(module) for module in (network, plain.train()))
    if not torch.allclose(logits, expected, rtol=1e-3, atol=1e-4):
        raise BackboneError(
            "converted, it has other logits, by up to "
            f"{float((logits - expected).abs().max()):.3g}: it may ask isinstance(layer, "
            "nn.BatchNorm2d), which is then false"
        )
    other = candidate.build(init="zero")
    if convert(other) is not other:
        raise BackboneError("it is itself a layer that is converted; expected a module around it")


def _pass(network: nn.Module) -> torch.Tensor:
    with torch.no_grad(), all_random("contract", "pass"):
        return checked_forward(network, images(WAYS))


def _check_kept(network: nn.Module) -> None:
    """Refuses normalisation in plain containers, which is not converted."""
    for name, module in network.named_modules():
        for attribute, value in vars(module).items():
            if attribute != "_modules" and any(_norms(value)):
                place = ".".join(filter(None, (name, attribute)))
                raise BackboneError(
                    f"{place!r} is a {type(value).__name__} that holds batch normalisation, which "
                    "then keeps statistics from task to task; expected nn.ModuleList or ModuleDict"
                )


def _norms(value: object) -> Iterator[bool]:
    """Yields True for each batch normalisation in plain containers, however deep."""
    if isinstance(value, (list, tuple, set, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield isinstance(item, _NormBase)
            yield from _norms(item)
