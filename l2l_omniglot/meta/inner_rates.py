"""Inner learning rates: which parameters the inner loop adapts, and how far in each step."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import nn

from l2l_omniglot.backbones.heads import (
    head_name,
    head_parameters,
    layer_of,
    resize_rows,
    resize_steps,
)
from l2l_omniglot.errors import BackboneError, check_choice, check_number
from l2l_omniglot.meta import ADAPTED, INNER_RATES

Rate: TypeAlias = "float | torch.Tensor"
LEAST = 1e-3  # of the initial rate: the least that a learned rate of a layer becomes


class InnerRates(nn.Module):
    """One rate for everything (Finn et al. 2017); subclasses learn theirs with the backbone.

    Args:
        backbone: module to adapt.
        initial: the initial rate (alpha), above 0.
        adapt: ``all`` trained parameters, or only those of the ``head``: ANIL (Raghu et al.
            2020, "Rapid learning or feature reuse?").
        steps: gradient steps K in training.
        left: names of parameters that are not adapted in any case.
        alike: names of parameters with a row for each class, whose classes have one rate.

    Attributes:
        names: of the adapted parameters.
        plain: whether learn2learn's `MAML.adapt` does the same.
        learned: whether the rates are trained, as the module's parameters.

    Raises:
        SettingsError: if `initial` is not a number above 0 or `adapt` unknown.
        BackboneError: if the head is to be adapted and is frozen.
    """

    learned = False

    def __init__(
        self,
        backbone: nn.Module,
        initial: float,
        adapt: str = "all",
        steps: int = 1,
        left: tuple[str, ...] = (),
        alike: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        check_number("inner_lr", initial, above=0)
        check_choice("adapt", adapt, ADAPTED)
        self.initial, self.adapt, self.left, self.alike = initial, adapt, left, alike
        self.names = self._adapted(backbone)
        self.plain = adapt == "all" and not self.learned and not left
        self._make(backbone, steps)

    def _make(self, backbone: nn.Module, steps: int) -> None:
        """Makes the rates that are learned."""

    def _adapted(self, backbone: nn.Module) -> tuple[str, ...]:
        chosen = head_parameters(backbone) if self.adapt == "head" else None
        names = tuple(
            name
            for name, parameter in backbone.named_parameters()
            if parameter.requires_grad and (chosen is None or name in chosen)
            if name not in self.left
        )
        if chosen is not None and not names:
            raise BackboneError(
                f"its head {head_name(backbone)!r} has no parameter that is trained; expected some"
            )
        return names

    def check(self, backbone: nn.Module) -> None:
        """Refuses a backbone that was frozen or unfrozen since.

        Raises:
            BackboneError: if other parameters would be adapted now.
        """
        if self.names != self._adapted(backbone):
            raise BackboneError(
                "requires_grad of its parameters was changed after the learner was built; freeze "
                "first, then build the learner"
            )

    def rate(self, _name: str, _step: int) -> Rate:
        """Returns a parameter's rate in a step: a number, or a tensor that fits the parameter.

        Steps count from 0; those beyond training's K have the rates of the last one.
        """
        return self.initial

    def resized(self, rates: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Fits learned rates of the same kind, trained for other ways or steps, to these."""
        return resize_rows(rates, self)

    def bound(self) -> None:
        """Brings rates that an update has moved out of their range back into it."""


class ParameterRates(InnerRates):
    """A learned rate for every single weight: Meta-SGD (Li et al. 2017, algorithm 1).

    Where a head is computed, for any number of ways, all classes have the rates of one.
    """

    learned = True

    def _make(self, backbone: nn.Module, _steps: int) -> None:
        weights = dict(backbone.named_parameters())
        self._number = {name: number for number, name in enumerate(self.names)}
        self.rates = nn.ParameterList(
            torch.full_like(
                weights[name][:1] if name in self.alike else weights[name], self.initial
            )
            for name in self.names
        )

    def rate(self, name: str, _step: int) -> Rate:
        """See `InnerRates`."""
        rate: torch.Tensor = self.rates[self._number[name]]
        return rate


class LayerStepRates(InnerRates):
    """A learned rate for every layer and step (Antoniou et al. 2019, section 4, "LSLR").

    They stay positive: a layer that climbs its own loss makes the meta-gradient explode.
    """

    learned = True

    def _make(self, backbone: nn.Module, steps: int) -> None:
        layers = list(dict.fromkeys(map(layer_of, self.names)))
        self._number = {name: layers.index(layer_of(name)) for name in self.names}
        like = next(backbone.parameters()).detach()
        self.rates = nn.Parameter(like.new_full((len(layers), max(1, steps)), self.initial))

    def rate(self, name: str, step: int) -> Rate:
        """See `InnerRates`."""
        return self.rates[self._number[name], min(step, self.rates.shape[1] - 1)]

    def resized(self, rates: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """See `InnerRates`."""
        steps = self.rates.shape[1]
        return {name: resize_steps(values, steps, dim=1) for name, values in rates.items()}

    @torch.no_grad()
    def bound(self) -> None:
        """See `InnerRates`."""
        self.rates.clamp_(min=LEAST * self.initial)


def make_rates(
    kind: str,
    backbone: nn.Module,
    initial: float,
    adapt: str = "all",
    steps: int = 1,
    left: tuple[str, ...] = (),
    alike: tuple[str, ...] = (),
) -> InnerRates:
    """Makes rates of a kind: ``fixed``, ``parameter`` or ``layer-step``.

    Raises:
        SettingsError: if the kind is unknown, or as `InnerRates`.
    """
    check_choice("inner_rates", kind, INNER_RATES)
    return _KINDS[kind](backbone, initial, adapt, steps, left, alike)


_KINDS: dict[str, type[InnerRates]] = dict(
    zip(INNER_RATES, (InnerRates, ParameterRates, LayerStepRates), strict=True)
)
