"""The stacked engine: computes the tasks of a chunk as one batch of every layer."""

from __future__ import annotations

import copy

import torch
from torch import nn

from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.backbones.head_starts import HeadStart
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.blocks import StackedSequential
from l2l_omniglot.meta.engines.fast_weights import Engine
from l2l_omniglot.meta.engines.layers import StackedLayer, make_stacked
from l2l_omniglot.meta.inner_rates import InnerRates
from l2l_omniglot.meta.step_norms import StepNorms

# Of a chunk's larger set: 600 images of 28 x 28 (docs/performance.md); on a GPU a guess.
PIXELS_ON_CPU, PIXELS_ON_GPU = 470_400, 7_526_400


class StackedEngine(Engine):
    """Computes T tasks at once: learn2learn clones a skeleton with the backbone's parameters.

    The layers of a clone then get T copies of each, with a leading T.

    Raises:
        BackboneError: if a layer has no stacked form; says which.
    """

    name = "stacked"
    threads_share = "operations"
    leading = True

    def __init__(
        self,
        backbone: nn.Module,
        rates: InnerRates,
        head: HeadStart | None = None,
        norms: StepNorms | None = None,
    ) -> None:
        super().__init__(backbone, _make_skeleton(backbone, {}), rates, head, norms)

    def tasks_at_once(self, pixels: int) -> int:
        """See `Engine`."""
        on_cpu = next(self.backbone.parameters()).is_cpu
        return max(1, (PIXELS_ON_CPU if on_cpu else PIXELS_ON_GPU) // pixels)

    def prepare(self, clone: nn.Module, tasks: int) -> None:
        """See `Engine`."""
        if clone.training != self.backbone.training:
            clone.train(self.backbone.training)
        stacked: dict[torch.Tensor, torch.Tensor] = {}
        for layer in clone.modules():
            if isinstance(layer, StackedLayer):
                layer.tasks = tasks
                for name, old in layer._parameters.items():
                    if old is not None:
                        stacked[old] = stacked[old] if old in stacked else _stack(old, tasks)
                        layer._parameters[name] = stacked[old]  # type: ignore[assignment]

    def forward(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """See `Engine`."""
        logits: torch.Tensor = checked_forward(network, images.flatten(0, 1))
        return logits.view(*images.shape[:2], -1)


def _stack(parameter: torch.Tensor, tasks: int) -> torch.Tensor:
    """Makes T copies, those of convolutions with their channels last."""
    copies = parameter.expand(tasks, *parameter.shape)
    if parameter.ndim != 4:
        return copies.clone(memory_format=torch.contiguous_format)
    last = copies.permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format)
    return last.permute(0, 1, 4, 2, 3)


def _make_skeleton(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    # `made` has the skeletons so far by the identity of their originals: layers may be shared.
    if id(module) not in made:
        made[id(module)] = make_stacked(module) or _stack_children(module, made)
    return made[id(module)]


def _stack_children(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """Stacks the layers within a module that only holds others."""
    parameters = [name for name, _ in module.named_parameters(recurse=False)]
    if parameters or isinstance(module, nn.modules.batchnorm._NormBase):
        raise BackboneError(f"{type(module).__name__} has no stacked form")
    named = module._modules.items()  # named_children leaves out repeats
    children = {name: _make_skeleton(child, made) for name, child in named if child is not None}
    if type(module) is nn.Sequential:
        return StackedSequential(children, module.training)
    skeleton = copy.copy(module)
    skeleton._modules = {**module._modules, **children}
    return skeleton
