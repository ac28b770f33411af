"""Checks of a backbone's gradients, of the first and the second order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2l_omniglot.contract.candidate import WAYS, Candidate, Check, images
from l2l_omniglot.contract.output import LOGITS, SAME_OUTPUT
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.heads import checked_forward
from l2l_omniglot.randomness import derive_seed

PARAMETERS, DOUBLE, FIRST = "parameters", "float64", "gradient"
# Wide steps meet kinks (of ReLU, of a maximum), narrow ones rounding: one of them has to agree.
# A kink makes the gradient jump, so that its differences need narrower steps.
STEPS_OF_LOSS, STEPS_OF_GRADIENT = (1e-5, 1e-6, 1e-7), (1e-7, 1e-8, 1e-9)
CLOSE, SMALL = 1e-3, 1e-6  # relative to the larger one; of all that is compared, absolute

Tensors = Sequence[torch.Tensor]


def _parameters(candidate: Candidate) -> str:
    network = candidate.build(init="zero")
    trained = [p.numel() for p in network.parameters() if p.requires_grad]
    if not trained:
        raise BackboneError(f"{type(network).__name__} has no parameter that can be trained")
    return f"{sum(trained):,}"


def _every_gradient(candidate: Candidate) -> str:
    network = candidate.network().eval()
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    loss = cross_entropy(checked_forward(network, images(WAYS)), torch.arange(WAYS))
    found = _gradient(loss, _trained(network))
    without = [name for name, grad in zip(names, found, strict=True) if grad is None]
    if without:
        raise BackboneError(f"the loss does not depend on {', '.join(map(repr, without))}")
    return ""


def _double(candidate: Candidate) -> str:
    logits = checked_forward(candidate.network().double().eval(), images(WAYS).double())
    if logits.dtype != torch.float64:
        raise BackboneError(f"returned {logits.dtype} for float64 images")
    return ""


def _first_order(candidate: Candidate) -> str:
    """Along a random direction in each parameter, against differences of the loss."""
    problem = _Problem(candidate)
    found = _gradient(problem.loss(), problem.parameters)
    for name, parameter, gradient in zip(problem.names, problem.parameters, found, strict=True):
        direction = _direction([parameter], name)
        exact = 0.0 if gradient is None else float((gradient * direction[0]).sum())
        slopes = []
        for step in STEPS_OF_LOSS:
            slopes.append(problem.slope([parameter], direction, step))
            if _agree(exact, slopes[-1]):
                break
        else:
            raise BackboneError(
                f"the gradient of {name!r} is {exact:.6g} along a direction; by finite "
                f"differences of the loss it is {slopes[1]:.6g}"
            )
    return "as by finite differences"


def _second_order(candidate: Candidate) -> str:
    """The change of the gradient along a random direction, against its differences."""
    problem = _Problem(candidate)
    direction = _direction(problem.parameters, "all")
    exact = problem.second(direction)
    wrong: list[str] = []
    for step in STEPS_OF_GRADIENT:
        by_differences = problem.change(direction, step)
        small = SMALL * float(torch.cat([c.flatten() for c in by_differences]).norm())
        wrong = [
            f"of {name!r} it is {float(one.norm()):.6g}, by finite differences of the gradient "
            f"{float(other.norm()):.6g} (norms along a direction)"
            for name, one, other in zip(problem.names, exact, by_differences, strict=True)
            if float((one - other).norm()) > CLOSE * float(other.norm()) + small
        ]
        if not wrong:
            return "as by finite differences"
    raise BackboneError(f"the second derivative is wrong: {wrong[0]}")


class _Problem:
    """The loss of a candidate on a few images, in float64, as a function of its parameters."""

    def __init__(self, candidate: Candidate) -> None:
        self._network = candidate.network().double().eval()
        self._images, self._labels = images(WAYS).double(), torch.arange(WAYS)
        named = [(name, p) for name, p in self._network.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]

    def loss(self) -> torch.Tensor:
        """Mean cross-entropy in nats."""
        return cross_entropy(checked_forward(self._network, self._images), self._labels)

    def gradient(self) -> list[torch.Tensor]:
        """Of the loss; zeros for parameters that it does not depend on."""
        return _or_zeros(_gradient(self.loss(), self.parameters), self.parameters)

    def slope(self, parameters: Tensors, direction: Tensors, step: float) -> float:
        """Central difference of the loss along a direction."""
        with torch.no_grad():
            _move(parameters, direction, step)
            above = self.loss()
            _move(parameters, direction, -2 * step)
            below = self.loss()
            _move(parameters, direction, step)
        return float(above - below) / (2 * step)

    def change(self, direction: Tensors, step: float) -> list[torch.Tensor]:
        """Central difference of the gradient along a direction in all parameters."""
        _move(self.parameters, direction, step)
        above = self.gradient()
        _move(self.parameters, direction, -2 * step)
        below = self.gradient()
        _move(self.parameters, direction, step)
        return [(one - other) / (2 * step) for one, other in zip(above, below, strict=True)]

    def second(self, direction: Tensors) -> list[torch.Tensor]:
        """The same by autograd."""
        try:
            gradient = torch.autograd.grad(
                self.loss(), self.parameters, create_graph=True, allow_unused=True
            )
            pairs = zip(gradient, direction, strict=True)
            along = torch.stack([(g * d).sum() for g, d in pairs if g is not None]).sum()
            if not along.requires_grad:
                raise BackboneError("its gradient has no gradient")
            found = torch.autograd.grad(along, self.parameters, allow_unused=True)
        except RuntimeError as error:
            raise BackboneError(f"cannot be differentiated twice: {error}") from error
        return _or_zeros(found, self.parameters)


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]


def _gradient(loss: torch.Tensor, parameters: Tensors) -> tuple[torch.Tensor | None, ...]:
    try:
        return torch.autograd.grad(loss, parameters, allow_unused=True)
    except RuntimeError as error:
        raise BackboneError(f"cannot be differentiated: {error}") from error


def _or_zeros(found: Sequence[torch.Tensor | None], like: Tensors) -> list[torch.Tensor]:
    pairs = zip(found, like, strict=True)
    return [torch.zeros_like(p) if g is None else g.detach() for g, p in pairs]


def _direction(parameters: Tensors, key: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(derive_seed("contract", "direction", key))
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]


@torch.no_grad()
def _move(parameters: Tensors, direction: Tensors, step: float) -> None:
    for parameter, way in zip(parameters, direction, strict=True):
        parameter.add_(way, alpha=step)


def _agree(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * max(abs(one), abs(other)) + SMALL


_NEEDS = (LOGITS, PARAMETERS, SAME_OUTPUT)
GRADIENTS = (
    Check(PARAMETERS, _parameters,
          "register parameters, as attributes of a module, with requires_grad", needs=(LOGITS,)),
    Check("every gradient", _every_gradient,
          "leave out parameters that nothing uses, and detach() or no_grad() on the way from the "
          "others: they stay as they are", required=False, needs=_NEEDS),
    Check(DOUBLE, _double,
          "make tensors of the images' type (images.new_zeros): float64 is what gradients are "
          "checked and engines tried out in", required=False, needs=_NEEDS),
    Check(FIRST, _first_order,
          "no detach(), .data, numpy() or no_grad() on the way from parameters to logits; a "
          "backward() of your own must be the derivative", needs=(*_NEEDS, DOUBLE)),
    Check("second order", _second_order,
          "use differentiable operations in a backward() of your own; without that there is "
          "--first-order only", needs=(*_NEEDS, DOUBLE, FIRST)),
)  # fmt: skip
