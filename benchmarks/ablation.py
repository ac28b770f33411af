"""What each trick of the stacked engine brings, one after the other, beside `torch.func.vmap`.

The plainest stacked engine computes every layer of several tasks at once by torch's own means.
Tricks are added to it one by one; then each is taken from the whole by itself. All variants are
run in turn in one process on one thread, and process CPU time is what counts.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.func import functional_call, vmap

from benchmarks.loops import Update, package_loop
from benchmarks.speed import LR, SETTINGS, Setting, draw
from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot._util.rng import all_random
from l2l_omniglot._util.text import table
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.meta import engines
from l2l_omniglot.meta.engines import blocks, convolution, stacked
from l2l_omniglot.meta.engines.convolution import Geometry
from l2l_omniglot.meta.learner import Learner

Patch = tuple[object, str, object]
IMAGES = 600  # of the larger sets of a chunk
CLOSE = 1e-6  # of meta-gradients in float64, relative


@dataclass(frozen=True)
class Variant:
    """An engine: this package's with some things put in place of others."""

    name: str
    patches: tuple[Patch, ...]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the package computes by this variant."""
        with ExitStack() as stack:
            for target, name, value in self.patches:
                stack.enter_context(patch.object(target, name, value))
            yield


def contiguous_stack(parameter: torch.Tensor, tasks: int) -> torch.Tensor:
    """T copies as they come."""
    copies = parameter.expand(tasks, *parameter.shape)
    return copies.clone(memory_format=torch.contiguous_format)


# In the order in which they are added; each with what stands in its place until then.
TRICKS: dict[str, tuple[Patch, ...]] = {
    "windows of few products copied": ((convolution, "FEW_PRODUCTS", 0),),
    "convolution by phases": (
        (convolution, "FEW_PIXELS", 0),
        (convolution, "FEW_PIXELS_A_TASK", 0),
    ),
    "normalising after pooling": ((blocks, "_find_block", lambda _layers: None),),
    "moments from windows": ((blocks, "FEW_PRODUCTS", 0),),
    "weights channels last": ((stacked, "_stack", contiguous_stack),),
}


class VmapEngine(stacked.StackedEngine):
    """The network itself, mapped over the tasks by `torch.func.vmap` and `functional_call`."""

    def __init__(self, backbone: nn.Module, rates: Any, head: Any = None) -> None:
        super().__init__(backbone, rates, head)
        self._network = self.prepared(copy.deepcopy(backbone))

    @staticmethod
    def prepared(network: nn.Module) -> nn.Module:
        """The network as it is."""
        return network

    def run(
        self,
        weights: dict[str, torch.Tensor],
        tasks: int,
        batch: torch.Tensor,
        source: Any = None,
        forward: Any = None,  # noqa: ARG002 - that of the network itself
    ) -> torch.Tensor:
        """See `StackedEngine`; each batch by its own statistics."""
        assert source is None

        def call(own: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = functional_call(self._network, own, (images,))
            return logits

        found: torch.Tensor = vmap(call)(weights, batch.unflatten(0, (tasks, -1)))
        return found.flatten(0, 1)


class _Convolution(torch.autograd.Function):
    """A convolution that vmap computes by `convolve`."""

    generate_vmap_rule = False

    @staticmethod
    def forward(*_: Any) -> torch.Tensor:
        raise AssertionError("always mapped")

    @staticmethod
    def setup_context(*_: Any, **__: Any) -> None:
        raise AssertionError("always mapped")

    @staticmethod
    def vmap(_info: Any, dims: Any, images: Any, weight: Any, conv: nn.Conv2d) -> Any:
        images = images.movedim(dims[0], 0).permute(0, 1, 3, 4, 2)
        weight = weight.movedim(dims[1], 0).permute(0, 1, 3, 4, 2)
        sizes = tuple(images.shape[2:4]), conv.kernel_size, conv.stride, conv.padding
        maps = convolution.convolve(images, weight, Geometry(*sizes))  # type: ignore[arg-type]
        return maps.permute(0, 1, 4, 2, 3), 0


class MappedConv2d(nn.Conv2d):
    """Of `nn.Conv2d`, under vmap."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to (B, filters, H', W')."""
        maps: torch.Tensor = _Convolution.apply(images, self.weight, self)  # type: ignore[no-untyped-call]
        return maps if self.bias is None else maps + self.bias[:, None, None]


class OwnVmapEngine(VmapEngine):
    """As `VmapEngine`, with this package's convolution for several tasks."""

    @staticmethod
    def prepared(network: nn.Module) -> nn.Module:
        """The network with other convolutions."""
        for layer in network.modules():
            if type(layer) is nn.Conv2d:
                layer.__class__ = MappedConv2d
        return network


VMAP = [
    Variant(
        "vmap, torch's convolution",
        ((engines, "StackedEngine", VmapEngine), (stacked, "_stack", contiguous_stack)),
    ),
    Variant("vmap, own convolution", ((engines, "StackedEngine", OwnVmapEngine),)),
]
WHOLE = Variant("the whole engine", ())


def added() -> list[Variant]:
    """From the plainest engine on, one trick more each."""
    names = list(TRICKS)
    found = []
    for count, name in enumerate(["plain", *(f"+ {name}" for name in names)]):
        missing = [entry for later in names[count:] for entry in TRICKS[later]]
        found.append(Variant(name, tuple(missing)))
    return found


def left_out() -> list[Variant]:
    """The whole engine, each trick taken from it by itself."""
    return [Variant(f"without {name}", patches) for name, patches in TRICKS.items()]


def check(
    variant: Variant, backbone: str, setting: Setting, expected: torch.Tensor | None
) -> torch.Tensor:
    """The meta-gradient by a variant, in float64.

    Raises:
        ValueError: if it is not the expected one.
    """
    network = some_network(backbone, setting).double()
    with torch.no_grad(), all_random("scales"):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.add_(torch.randn_like(layer.weight))
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tasks = draw(setting, 2, 2)
    learner = Learner(network, LR, setting.first_order, "stacked")
    with variant.in_place():
        engine = learner.choose(tasks[0]).engine
        parts = learner.meta_gradient(learner.batch(tasks), setting.steps, engine).gradients
    found = torch.cat([part.flatten() for part in parts if part is not None])
    if expected is not None and (found - expected).norm() > CLOSE * expected.norm():
        off = float((found - expected).norm() / expected.norm())
        raise ValueError(f"{variant.name}, {setting}: the meta-gradient is off by {off:.1e}")
    return found


def some_network(backbone: str, setting: Setting) -> nn.Module:
    """The same for every variant."""
    with all_random("benchmark"):
        return make_backbone(backbone, ways=setting.ways)


def measure(
    backbone: str, setting: Setting, variants: Sequence[Variant], tasks: Sequence[Task], rounds: int
) -> list[float]:
    """Median CPU seconds an update of every variant, all in turn."""
    updates: list[Update] = []
    for variant in variants:
        network = some_network(backbone, setting)
        update = package_loop(tasks, network, LR, setting.steps, setting.first_order, "stacked")
        with variant.in_place():
            update()  # makes the engine, too
        updates.append(update)
    times: list[list[float]] = [[] for _ in variants]
    for _ in range(rounds):
        for variant, update, found in zip(variants, updates, times, strict=True):
            with variant.in_place():
                start = time.process_time()
                update()
                found.append(time.process_time() - start)
    return [median(found) for found in times]


def short(setting: Setting) -> str:
    """For the head of a column."""
    order = "1st" if setting.first_order else "2nd"
    return f"{setting.ways}w{setting.shots}s {order}, {setting.steps}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints how fast each variant is, as a share of the whole engine's speed."""
    parser = argparse.ArgumentParser(prog="benchmarks.ablation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="of which the median counts (11)")
    parser.add_argument("--tasks", type=int, help="an update (as many as make a chunk)")
    parser.add_argument("--queries", type=int, default=15, help="a class (15)")
    parser.add_argument("--backbone", default="basenet")
    parser.add_argument("--settings", default="", help="only those whose name holds this")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    variants = [WHOLE, *added()[:-1], *VMAP, *left_out(), Variant("the whole, once more", ())]
    settings = [setting for setting in SETTINGS if given.settings in str(setting)]
    columns: list[list[str]] = [[variant.name for variant in variants]]
    for setting in settings:
        expected = check(WHOLE, given.backbone, setting, None)
        for variant in variants[1:]:
            check(variant, given.backbone, setting, expected)
        count = given.tasks or IMAGES // (setting.ways * given.queries)
        tasks = draw(setting, count, given.queries)
        times = measure(given.backbone, setting, variants, tasks, given.rounds)
        columns.append([f"{times[0] / found:.0%}" for found in times])
        columns[-1][0] = f"{1000 * times[0] / len(tasks):.2f} ms"
        print(f"{setting}: measured", flush=True)
    header = ("CPU time a task, then share of its speed", *map(short, settings))
    print(table(header, list(zip(*columns, strict=True))))


if __name__ == "__main__":
    main()
