"""Scale and shift of batch normalisation: adapted like all weights, or learned for each step."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot.backbones import NORM_WEIGHTS
from l2l_omniglot.backbones.batch_norm import Norm
from l2l_omniglot.backbones.heads import resize_steps
from l2l_omniglot.errors import check_choice


class StepNorms(nn.Module):
    """Leaves them to the inner loop; or learns them for each step, and nothing adapts them.

    The latter is the "BNWB" of Antoniou et al. 2019, section 4.

    Args:
        kind: ``adapted`` or ``per-step``.
        backbone: converted; what its parameters are is where each step's begin.
        steps: gradient steps K in training.

    Attributes:
        names: of the parameters that are learned for each step.

    Raises:
        SettingsError: if the kind is unknown.
    """

    def __init__(self, kind: str, backbone: nn.Module, steps: int) -> None:
        super().__init__()
        check_choice("norm_weights", kind, NORM_WEIGHTS)
        norms = [layer for layer in backbone.modules() if isinstance(layer, Norm)]
        ids = {id(p) for layer in norms for p in layer.parameters() if p.requires_grad}
        named = {n: p for n, p in backbone.named_parameters() if id(p) in ids}
        self.names = tuple(named) if kind == "per-step" else ()
        self.values = nn.ParameterList(
            named[name].detach().expand(steps + 1, -1).clone() for name in self.names
        )

    def resized(self, norms: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Fits those that were trained with another number of steps."""
        counts = {name: len(value) for name, value in self.named_parameters()}
        return {name: resize_steps(value, counts[name], dim=0) for name, value in norms.items()}

    def at(self, step: int, tasks: int) -> dict[str, torch.Tensor]:
        """Returns those after so many steps, for T tasks, (T, channels); beyond K, the last."""
        chosen = [value[min(step, len(value) - 1)] for value in self.values]
        return {n: value.expand(tasks, -1) for n, value in zip(self.names, chosen, strict=True)}
