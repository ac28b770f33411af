"""The stacked engine: computes the tasks of a chunk as one batch of every layer."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping

import torch
from torch import nn

from l2l_omniglot.backbones.batch_norm import BatchMoments, Forward, Source, checked_forward
from l2l_omniglot.backbones.heads import TrainedHead, head_parameters
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.blocks import StackedSequential
from l2l_omniglot.meta.engines.fast_weights import Engine, FastWeights
from l2l_omniglot.meta.engines.layers import StackedBatchNorm, StackedLayer, make_stacked
from l2l_omniglot.meta.inner_rates import InnerRates

# Of a chunk's larger set: 600 images of 28 x 28 (docs/performance.md); on a GPU a guess.
PIXELS_ON_CPU, PIXELS_ON_GPU = 470_400, 7_526_400


class StackedEngine(Engine):
    """Computes T tasks at once with a skeleton of the backbone, whose layers are stacked.

    Raises:
        BackboneError: if a layer has no stacked form; says which.
    """

    name = "stacked"
    threads_share = "operations"

    def __init__(
        self, backbone: nn.Module, rates: InnerRates, head: TrainedHead | None = None
    ) -> None:
        super().__init__(backbone, rates, head)
        self._skeleton = _make_skeleton(backbone, {})
        self._own = threading.local()
        # A parameter shared by two layers has two names, of which named_parameters gives one.
        first = {id(p): name for name, p in backbone.named_parameters()}
        every = backbone.named_parameters(remove_duplicate=False)
        self._names = {name: first[id(p)] for name, p in every}

    def tasks_at_once(self, pixels: int) -> int:
        """See `Engine`."""
        on_cpu = next(self.backbone.parameters()).is_cpu
        return max(1, (PIXELS_ON_CPU if on_cpu else PIXELS_ON_GPU) // pixels)

    def start(self, tasks: int, first_order: bool) -> StackedWeights:
        """See `Engine`."""
        return StackedWeights(self, tasks, first_order)

    def run(
        self,
        weights: dict[str, torch.Tensor],
        tasks: int,
        batch: torch.Tensor,
        source: Callable[[str], Source] | None = None,
        forward: Forward = checked_forward,
    ) -> torch.Tensor:
        """Computes logits (T * B, ways) of a batch (T * B, channels, H, W), task by task.

        Args:
            weights: by the backbone's names, each with a leading T.
            tasks: T.
            batch: images.
            source: of the moments by which each layer normalises; the batch's own by default.
            forward: see `l2l_omniglot.backbones.batch_norm.forward_by`.
        """
        if not hasattr(self._own, "skeleton"):  # one per thread: weights are put into it
            self._own.skeleton = copy.deepcopy(self._skeleton)
            named = self._own.skeleton.named_modules()
            self._own.layers = [entry for entry in named if isinstance(entry[1], StackedLayer)]
        network: nn.Module = self._own.skeleton
        if network.training != self.backbone.training:
            network.train(self.backbone.training)
        self._put(weights, tasks, source)
        try:
            return forward(network, batch)
        finally:
            self._put({}, 0, None)  # or the last tasks' graph would live on

    def _put(
        self, weights: dict[str, torch.Tensor], tasks: int, source: Callable[[str], Source] | None
    ) -> None:
        for path, layer in self._own.layers:
            layer.tasks = tasks
            if isinstance(layer, StackedBatchNorm):
                layer.source = source and source(path)
            for name in layer.names:
                full = self._names.get(f"{path}.{name}" if path else name, "")
                setattr(layer, name, weights.get(full))


class StackedWeights(FastWeights):
    """T copies of the backbone's weights, each parameter one tensor with a leading T."""

    def __init__(self, engine: StackedEngine, tasks: int, first_order: bool) -> None:
        super().__init__(engine, first_order)
        self._engine, self._tasks = engine, tasks
        named = engine.backbone.named_parameters()
        self._weights = {name: _stack(p, tasks) for name, p in named}

    def _forward(
        self, images: torch.Tensor, moments: BatchMoments | None, forward: Forward
    ) -> torch.Tensor:
        return self._run(images, moments.replay if moments else None, forward)

    def record(self, images: torch.Tensor) -> BatchMoments:
        """See `FastWeights`."""
        moments = BatchMoments()
        with self.autocast(images):
            self._run(images, moments.record)
        return moments

    def _run(
        self,
        images: torch.Tensor,
        source: Callable[[str], Source] | None,
        forward: Forward = checked_forward,
    ) -> torch.Tensor:
        batch = images.flatten(0, 1)
        found = self._engine.run(self._weights, self._tasks, batch, source, forward)
        return found.view(*images.shape[:2], -1)

    def head_parameters(self) -> dict[str, torch.Tensor]:
        """See `FastWeights`."""
        return {name: self._weights[name] for name in head_parameters(self._backbone)}

    def restart(self, head: Mapping[str, torch.Tensor]) -> None:
        """See `FastWeights`."""
        renewed = {name: weight.clone() for name, weight in self._weights.items()}
        self._weights = {**renewed, **head}

    def _adapt(self, loss: torch.Tensor) -> None:
        for name, gradient, rate in self._gradients(loss, self._weights):
            self._weights[name] = self._weights[name] - rate * gradient


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
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if own or isinstance(module, nn.modules.batchnorm._NormBase):
        raise BackboneError(f"{type(module).__name__} has no stacked form")
    named = module._modules.items()  # named_children leaves out repeats
    children = {name: _make_skeleton(child, made) for name, child in named if child is not None}
    if type(module) is nn.Sequential:
        return StackedSequential(children, module.training)
    skeleton = copy.copy(module)
    skeleton._modules = {**module._modules, **children}
    skeleton._buffers = {k: None if b is None else b.clone() for k, b in module._buffers.items()}
    return skeleton
