"""Inner learning rates: which parameters the inner loop adapts, and how far in each step."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import nn

from l2l_omniglot.backbones.heads import head_name, head_parameters, layer_of
from l2l_omniglot.errors import BackboneError, check_choice, check_number
from l2l_omniglot.meta import ADAPTED, INNER_RATES

Rate: TypeAlias = "float | torch.Tensor"


class InnerRates(nn.Module):
    """One rate for everything (Finn et al. 2017); subclasses learn theirs with the backbone.

    Args:
        backbone: see `l2l_omniglot.meta.learner.Learner`.
        initial: the rate to start from (alpha), above 0.
        adapt: ``all`` parameters that are trained, or those of the ``head`` only: ANIL
            (Raghu et al. 2020, "Rapid learning or feature reuse?").
        steps: gradient steps K in training.

    Attributes:
        initial: the rate to start from.
        names: of the adapted parameters.
        plain: whether learn2learn's `MAML.adapt` does the same.
        learned: whether there are rates to be trained, among the module's parameters.

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
        steps: int = 1,  # noqa: ARG002 - subclasses need it
    ) -> None:
        super().__init__()
        check_number("inner_lr", initial, above=0)
        check_choice("adapt", adapt, _ADAPTED)
        self.initial, self.adapt = initial, adapt
        self.names = _ADAPTED[adapt](backbone)
        self.plain = adapt == "all" and not self.learned

    def check(self, backbone: nn.Module) -> None:
        """Refuses a backbone that was frozen or unfrozen since.

        Raises:
            BackboneError: if other parameters would be adapted now.
        """
        if self.names != _ADAPTED[self.adapt](backbone):
            raise BackboneError(
                "requires_grad of its parameters was changed after the learner was built; freeze "
                "first, then build the learner"
            )

    def rate(self, _name: str, _step: int) -> Rate:
        """The rate of a parameter in a step: a number, or a tensor that fits the parameter.

        Args:
            _name: of an adapted parameter.
            _step: from 0; those beyond training's K have the rates of the last.
        """
        return self.initial


class ParameterRates(InnerRates):
    """A learned rate for every single weight: Meta-SGD (Li et al. 2017, algorithm 1)."""

    learned = True

    def __init__(
        self, backbone: nn.Module, initial: float, adapt: str = "all", steps: int = 1
    ) -> None:
        super().__init__(backbone, initial, adapt, steps)
        weights = dict(backbone.named_parameters())
        self._number = {name: number for number, name in enumerate(self.names)}
        self.rates = nn.ParameterList(
            torch.full_like(weights[name], initial) for name in self.names
        )

    def rate(self, name: str, _step: int) -> Rate:
        """See `InnerRates`."""
        rate: torch.Tensor = self.rates[self._number[name]]
        return rate


class LayerStepRates(InnerRates):
    """A learned rate for every layer and step (Antoniou et al. 2019, section 4, "LSLR")."""

    learned = True

    def __init__(
        self, backbone: nn.Module, initial: float, adapt: str = "all", steps: int = 1
    ) -> None:
        super().__init__(backbone, initial, adapt, steps)
        layers = list(dict.fromkeys(map(layer_of, self.names)))
        self._number = {name: layers.index(layer_of(name)) for name in self.names}
        like = next(backbone.parameters()).detach()
        self.rates = nn.Parameter(like.new_full((len(layers), max(1, steps)), initial))

    def rate(self, name: str, step: int) -> Rate:
        """See `InnerRates`."""
        return self.rates[self._number[name], min(step, self.rates.shape[1] - 1)]


def make_rates(
    kind: str, backbone: nn.Module, initial: float, adapt: str = "all", steps: int = 1
) -> InnerRates:
    """Rates of a kind: ``fixed``, ``parameter`` or ``layer-step``.

    Raises:
        SettingsError: unknown kind, or as `InnerRates`.
    """
    check_choice("inner_rates", kind, _KINDS)
    return _KINDS[kind](backbone, initial, adapt, steps)


def _trained(backbone: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, p in backbone.named_parameters() if p.requires_grad)


def _head(backbone: nn.Module) -> tuple[str, ...]:
    head = head_parameters(backbone)
    found = tuple(name for name in _trained(backbone) if name in head)
    if not found:
        name = head_name(backbone)
        raise BackboneError(f"its head {name!r} has no parameter that is trained; expected some")
    return found


_ADAPTED = dict(zip(ADAPTED, (_trained, _head), strict=True))
_KINDS: dict[str, type[InnerRates]] = dict(
    zip(INNER_RATES, (InnerRates, ParameterRates, LayerStepRates), strict=True)
)
