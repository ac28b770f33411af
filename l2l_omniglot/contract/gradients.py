"""Checks of a backbone's gradients, of the first and the second order, by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.contract.candidate import WAYS, Candidate, check, images
from l2l_omniglot.contract.output import logits, same_output
from l2l_omniglot.errors import BackboneError

Function: TypeAlias = Callable[[dict[str, torch.Tensor]], torch.Tensor]  # of changed parameters
# Wide steps cross kinks of ReLU or maximum, narrow ones suffer from rounding: one must agree.
STEPS = (1e-6, 1e-7, 1e-5, 1e-8)
CLOSE, SMALL = 1e-3, 1e-8  # relative, and absolute (of each entry)


@check("parameters", logits)
def parameters(candidate: Candidate) -> str:
    """Register parameters as attributes of a module, with requires_grad."""
    network = candidate.build(init="zero")
    trained = [p.numel() for p in network.parameters() if p.requires_grad]
    if not trained:
        raise BackboneError(f"{type(network).__name__} has no parameter that can be trained")
    return f"{sum(trained):,}"


SOUND = logits, parameters, same_output


@check("every gradient", *SOUND, required=False)
def every_gradient(candidate: Candidate) -> None:
    """Remove unused parameters, and detach() or no_grad() between the others and the loss.

    Such parameters never change.
    """
    loss, trained = _problem(candidate, torch.float32)
    try:
        grads = torch.autograd.grad(loss({}), [*trained.values()], allow_unused=True)
    except RuntimeError as error:
        raise BackboneError(f"cannot be differentiated: {error}") from error
    without = [name for name, grad in zip(trained, grads, strict=True) if grad is None]
    if without:
        raise BackboneError(f"the loss does not depend on {', '.join(map(repr, without))}")


@check("float64", *SOUND, required=False)
def double(candidate: Candidate) -> None:
    """Create tensors with the images' dtype (images.new_zeros): checks use float64, too."""
    output = checked_forward(candidate.network().double().eval(), images(WAYS).double())
    if output.dtype != torch.float64:
        raise BackboneError(f"returned {output.dtype} for float64 images")


@check("gradient", *SOUND, double)
def first_order(candidate: Candidate) -> str:
    """Avoid detach(), .data, numpy() and no_grad() between parameters and logits.

    A custom backward() must return the true derivative.
    """
    return _compare(*_problem(candidate), "the gradient")


@check("second order", *SOUND, double, first_order)
def second_order(candidate: Candidate) -> str:
    """Use differentiable operations in a custom backward(); else only --first-order works."""
    # Checks the derivative, by each parameter, of the gradient along a random direction.
    loss, trained = _problem(candidate)
    directions = [_random_like(p, number) for number, p in enumerate(trained.values())]

    def along(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        weights = [*{**trained, **changed}.values()]
        grads = torch.autograd.grad(loss(changed), weights, create_graph=True, allow_unused=True)
        pairs = zip(grads, directions, strict=True)
        return torch.stack([(g * d).sum() for g, d in pairs if g is not None]).sum()

    return _compare(along, trained, "the second derivative")


def _problem(
    candidate: Candidate, dtype: torch.dtype = torch.float64
) -> tuple[Function, dict[str, torch.Tensor]]:
    """Returns the loss on a few images in nats, and the parameters it is a function of, by name."""
    network = candidate.network().to(dtype).eval()
    batch = images(WAYS).to(dtype)

    def loss(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        whole = partial(functional_call, network, changed)
        logits = checked_forward(whole, batch.clone())
        return cross_entropy(logits, torch.arange(WAYS) % logits.shape[1])  # of any number of ways

    return loss, {name: p for name, p in network.named_parameters() if p.requires_grad}


def _compare(function: Function, trained: dict[str, torch.Tensor], what: str) -> str:
    for name, parameter in trained.items():
        try:
            agrees = _agrees(function, name, parameter)
        except RuntimeError as error:
            raise BackboneError(f"{what} by {name!r} cannot be computed: {error}") from error
        if not agrees:
            raise BackboneError(f"{what} by {name!r} differs from finite differences")
    return "as by finite differences"


def _agrees(function: Function, name: str, parameter: torch.Tensor) -> bool:
    """Returns whether a derivative, along a random direction, is that of finite differences.

    Of a number that moves the parameter that way: where a derivative is wrong, gradcheck goes on
    to every single entry of what it is given.
    """
    direction = _random_like(parameter, name)
    agrees = partial(
        gradcheck,
        lambda distance: function({name: parameter + distance * direction}),
        torch.zeros((), dtype=torch.float64, requires_grad=True),
        rtol=CLOSE, atol=SMALL * float(direction.abs().sum()), raise_exception=False,
        check_undefined_grad=False, fast_mode=True,
    )  # fmt: skip
    return any(agrees(eps=step) for step in STEPS)


def _random_like(parameter: torch.Tensor, key: object) -> torch.Tensor:
    """Draws a direction of length 1, the same for the same key."""
    generator = torch.Generator().manual_seed(derive_seed("contract", "direction", key))
    drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    unit: torch.Tensor = drawn / drawn.norm()
    return unit
