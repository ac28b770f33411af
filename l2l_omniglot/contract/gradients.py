"""Checks of a backbone's gradients, of the first and the second order, by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.backbones.heads import checked_forward
from l2l_omniglot.contract.candidate import WAYS, Candidate, Check, images
from l2l_omniglot.contract.output import LOGITS, SAME_OUTPUT
from l2l_omniglot.errors import BackboneError

Function: TypeAlias = Callable[[dict[str, torch.Tensor]], torch.Tensor]  # of changed parameters
PARAMETERS, DOUBLE, FIRST = "parameters", "float64", "gradient"
# Wide steps cross kinks of ReLU or maximum, narrow ones suffer from rounding: one must agree.
STEPS = (1e-6, 1e-7, 1e-5, 1e-8)
CLOSE, SMALL = 1e-3, 1e-8  # relative, and absolute (of each entry)


def _parameters(candidate: Candidate) -> str:
    network = candidate.build(init="zero")
    trained = [p.numel() for p in network.parameters() if p.requires_grad]
    if not trained:
        raise BackboneError(f"{type(network).__name__} has no parameter that can be trained")
    return f"{sum(trained):,}"


def _every_gradient(candidate: Candidate) -> None:
    loss, parameters = _problem(candidate, torch.float32)
    try:
        found = torch.autograd.grad(loss({}), [*parameters.values()], allow_unused=True)
    except RuntimeError as error:
        raise BackboneError(f"cannot be differentiated: {error}") from error
    without = [name for name, grad in zip(parameters, found, strict=True) if grad is None]
    if without:
        raise BackboneError(f"the loss does not depend on {', '.join(map(repr, without))}")


def _double(candidate: Candidate) -> None:
    logits = checked_forward(candidate.network().double().eval(), images(WAYS).double())
    if logits.dtype != torch.float64:
        raise BackboneError(f"returned {logits.dtype} for float64 images")


def _first_order(candidate: Candidate) -> str:
    loss, parameters = _problem(candidate)
    return _compare(loss, parameters, "the gradient")


def _second_order(candidate: Candidate) -> str:
    """Checks the derivative, by each parameter, of the gradient along a random direction."""
    loss, parameters = _problem(candidate)
    directions = [_random_like(p, number) for number, p in enumerate(parameters.values())]

    def along(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        weights = [*{**parameters, **changed}.values()]
        found = torch.autograd.grad(loss(changed), weights, create_graph=True, allow_unused=True)
        pairs = zip(found, directions, strict=True)
        return torch.stack([(g * d).sum() for g, d in pairs if g is not None]).sum()

    return _compare(along, parameters, "the second derivative")


def _problem(
    candidate: Candidate, dtype: torch.dtype = torch.float64
) -> tuple[Function, dict[str, torch.Tensor]]:
    """Returns the loss on a few images in nats, and the parameters it is a function of, by name."""
    network = candidate.network().to(dtype).eval()
    batch, labels = images(WAYS).to(dtype), torch.arange(WAYS)

    def loss(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        whole = _Changed(network, changed)
        return cross_entropy(checked_forward(whole, batch.clone()), labels)

    return loss, {name: p for name, p in network.named_parameters() if p.requires_grad}


class _Changed(nn.Module):
    """A network with other parameters."""

    def __init__(self, network: nn.Module, changed: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.network, self.changed = network, changed

    def forward(self, batch: torch.Tensor) -> Any:
        return functional_call(self.network, self.changed, (batch,))


def _compare(function: Function, parameters: dict[str, torch.Tensor], what: str) -> str:
    """Compares derivatives by each parameter, along a random direction, with finite differences.

    Of a number that moves the parameter that way: where a derivative is wrong, gradcheck goes on
    to every single entry of what it is given.
    """
    for name, parameter in parameters.items():
        direction = _random_like(parameter, name)
        moved = partial(_moved, function, name, parameter, direction)
        small = SMALL * float(direction.abs().sum())
        try:
            found = any(
                gradcheck(
                    moved, torch.zeros((), dtype=torch.float64, requires_grad=True), eps=step,
                    rtol=CLOSE, atol=small, raise_exception=False, check_undefined_grad=False,
                    fast_mode=True,
                )
                for step in STEPS
            )  # fmt: skip
        except RuntimeError as error:
            raise BackboneError(f"{what} by {name!r} cannot be computed: {error}") from error
        if not found:
            raise BackboneError(f"{what} by {name!r} differs from finite differences")
    return "as by finite differences"


def _moved(
    function: Function,
    name: str,
    parameter: torch.Tensor,
    direction: torch.Tensor,
    distance: torch.Tensor,
) -> torch.Tensor:
    return function({name: parameter + distance * direction})


def _random_like(parameter: torch.Tensor, key: object) -> torch.Tensor:
    """Draws a direction of length 1, the same for the same key."""
    generator = torch.Generator().manual_seed(derive_seed("contract", "direction", key))
    drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    unit: torch.Tensor = drawn / drawn.norm()
    return unit


_NEEDS = (LOGITS, PARAMETERS, SAME_OUTPUT)
GRADIENTS = (
    Check(PARAMETERS, _parameters,
          "register parameters as attributes of a module, with requires_grad", needs=(LOGITS,)),
    Check("every gradient", _every_gradient,
          "remove unused parameters, and detach() or no_grad() between the others and the loss: "
          "such parameters never change", required=False, needs=_NEEDS),
    Check(DOUBLE, _double,
          "create tensors with the images' dtype (images.new_zeros): gradients and engines are "
          "checked in float64", required=False, needs=_NEEDS),
    Check(FIRST, _first_order,
          "avoid detach(), .data, numpy() and no_grad() between parameters and logits; a custom "
          "backward() must return the true derivative", needs=(*_NEEDS, DOUBLE)),
    Check("second order", _second_order,
          "use differentiable operations in a custom backward(); otherwise only --first-order "
          "works", needs=(*_NEEDS, DOUBLE, FIRST)),
)  # fmt: skip
