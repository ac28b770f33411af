"""The stacked engine: the tasks of a chunk side by side, as one batch of every layer."""

from __future__ import annotations

import copy
import threading

import torch
from torch import nn

from l2l_omniglot.engines.blocks import StackedSequential
from l2l_omniglot.engines.clones import differentiate, forward, trained_parameters
from l2l_omniglot.engines.fast_weights import FastWeights
from l2l_omniglot.engines.layers import StackedBatchNorm, StackedLayer, make_stacked
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.normalisation import Book
from l2l_omniglot.rates import InnerRates

# Of a chunk's larger set: 600 images of 28 x 28, measured, see docs/performance.md. On a GPU a
# guess.
PIXELS_ON_CPU, PIXELS_ON_GPU = 470_400, 7_526_400


class StackedEngine:
    """Backbones all of whose parameters are in layers that can be stacked (see `layers`).

    A skeleton of the backbone, with stacked layers in their place, computes T tasks at once.

    Args:
        backbone: see `Learner`.
        rates: of the inner loop.

    Raises:
        BackboneError: if a layer has no stacked form; says which.
    """

    name = "stacked"
    threads_share = "operations"

    def __init__(self, backbone: nn.Module, rates: InnerRates) -> None:
        self.backbone, self.rates = backbone, rates
        self._skeleton = _make_skeleton(backbone, {})
        self._own = threading.local()
        # A parameter shared by two layers has two names, of which named_parameters gives one.
        first = {id(p): name for name, p in backbone.named_parameters()}
        every = backbone.named_parameters(remove_duplicate=False)
        self._names = {name: first[id(p)] for name, p in every}

    def tasks_at_once(self, pixels: int) -> int:
        """How many tasks are best computed together, whose larger set has so many pixels."""
        on_cpu = next(self.backbone.parameters()).device.type == "cpu"
        return max(1, (PIXELS_ON_CPU if on_cpu else PIXELS_ON_GPU) // pixels)

    def start(self, tasks: int, first_order: bool) -> StackedWeights:
        """The backbone's weights, `tasks` times."""
        self.rates.check(self.backbone)
        return StackedWeights(self, tasks, first_order)

    def run(
        self,
        weights: dict[str, torch.Tensor],
        tasks: int,
        batch: torch.Tensor,
        statistics_of: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits (T * B, ways) of a batch (T * B, channels, H, W), task by task.

        Args:
            weights: by the backbone's names, each with a leading T.
            tasks: T.
            batch: images.
            statistics_of: batch (T * B', channels, H, W) by which to normalise; `batch` itself
                by default.
        """
        if not hasattr(self._own, "skeleton"):  # one a thread: weights are put into it
            skeleton = copy.deepcopy(self._skeleton)
            named = list(skeleton.named_modules())
            self._own.skeleton = skeleton
            self._own.layers = [entry for entry in named if isinstance(entry[1], StackedLayer)]
            self._own.norms = [layer for _, layer in named if isinstance(layer, StackedBatchNorm)]
        network: nn.Module = self._own.skeleton
        if network.training != self.backbone.training:
            network.train(self.backbone.training)
        self._put(weights, tasks)
        try:
            if statistics_of is not None:
                self._note_statistics(network, statistics_of)
            return forward(network, batch)
        finally:
            self._put({}, 0)  # or the last tasks' graph would live on
            if statistics_of is not None:
                for norm in self._own.norms:
                    norm.book = None

    def _note_statistics(self, network: nn.Module, batch: torch.Tensor) -> None:
        """From now on the network normalises by the statistics it has for this batch."""
        books = [Book() for _ in self._own.norms]
        for norm, book in zip(self._own.norms, books, strict=True):
            norm.book = book
        forward(network, batch)
        for book in books:
            book.open()

    def _put(self, weights: dict[str, torch.Tensor], tasks: int) -> None:
        """Puts weights into this thread's skeleton."""
        for path, layer in self._own.layers:
            layer.tasks = tasks
            for name in layer.names:
                full = self._names.get(f"{path}.{name}" if path else name, "")
                setattr(layer, name, weights.get(full))


class StackedWeights(FastWeights):
    """T copies of the backbone's weights, each parameter one tensor with a leading T."""

    def __init__(self, engine: StackedEngine, tasks: int, first_order: bool) -> None:
        self._engine, self._tasks, self._first_order = engine, tasks, first_order
        self._rates, self._step = engine.rates, 0
        parameters = dict(engine.backbone.named_parameters())
        self._parameters = trained_parameters(engine.backbone, engine.rates)
        self._weights = {name: _stack(p, tasks) for name, p in parameters.items()}
        self._losses: list[torch.Tensor] = []

    def logits(
        self, images: torch.Tensor, statistics_of: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See `FastWeights`."""
        other = None if statistics_of is None else statistics_of.flatten(0, 1)
        logits = self._engine.run(self._weights, self._tasks, images.flatten(0, 1), other)
        return logits.view(*images.shape[:2], -1)

    def step(self, losses: torch.Tensor) -> None:
        """See `FastWeights`."""
        names = self._rates.names
        old = [self._weights[name] for name in names]
        try:
            gradients = torch.autograd.grad(
                losses.sum(), old, create_graph=not self._first_order, allow_unused=True
            )
        except RuntimeError as error:
            raise BackboneError(f"the inner loop cannot differentiate: {error}") from error
        for name, weight, gradient in zip(names, old, gradients, strict=True):
            if gradient is not None:
                self._weights[name] = weight - self._rates.at(name, self._step) * gradient
        self._step += 1

    def add_loss(self, losses: torch.Tensor) -> None:
        """See `FastWeights`."""
        self._losses.append(losses)

    def meta_gradient(self) -> tuple[torch.Tensor | None, ...]:
        """See `FastWeights`."""
        return differentiate(self._losses, self._parameters)


def _stack(parameter: torch.Tensor, tasks: int) -> torch.Tensor:
    """T copies, those of convolutions with their channels last."""
    copies = parameter.expand(tasks, *parameter.shape)
    if parameter.ndim != 4:
        return copies.clone(memory_format=torch.contiguous_format)
    last = copies.permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format)
    return last.permute(0, 1, 4, 2, 3)


def _make_skeleton(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """The module, stacked where layers have parameters or batch statistics.

    Args:
        module: of the backbone.
        made: skeletons so far by the identity of their originals, since layers may be shared.
    """
    if id(module) not in made:
        made[id(module)] = make_stacked(module) or _stack_children(module, made)
    return made[id(module)]


def _stack_children(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """A module that only holds others, with these stacked."""
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if own or isinstance(module, nn.modules.batchnorm._NormBase):
        raise BackboneError(f"{type(module).__name__} has no stacked form")
    children = {  # named_children leaves out repeats
        name: _make_skeleton(child, made)
        for name, child in module._modules.items()
        if child is not None
    }
    if type(module) is nn.Sequential:
        return StackedSequential(children, module.training)
    skeleton = copy.copy(module)
    skeleton._modules = {**module._modules, **children}
    skeleton._buffers = {k: None if b is None else b.clone() for k, b in module._buffers.items()}
    return skeleton
