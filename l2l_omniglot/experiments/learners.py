"""Learners: built from the settings of a run, or loaded from trained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import torch
from torch import nn

from l2l_omniglot._util.process import bfloat16_pays, choose_device
from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.heads import head_parameters, resize_rows
from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.experiments.weights import (
    check_ways,
    find_weights,
    load_pretrained_checkpoint,
)
from l2l_omniglot.meta.by_steps import maml_by_steps
from l2l_omniglot.meta.imaml import check_loop, imaml
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.rules import Rule


def build_learner(
    settings: Settings,
    channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    device: str = "cpu",
    engine: str = "auto",
) -> Learner:
    """Builds the learner of a run at iteration 0; its weights depend on the seed only.

    Args:
        settings: of the run.
        channels: of the images.
        image_size: pixels; one number, or (height, width).
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: see `Learner`.
    """
    name, ways, init = settings.backbone, settings.ways, settings.init
    with all_random("weights", settings.seed):
        network = make_backbone(
            name, ways=ways, channels=channels, image_size=image_size, init=init
        )
    network = network.to(choose_device(device))
    adapts = settings.inner_steps > 0
    if not adapts:  # torch's own layers compute it, and those are faster with channels last
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Learner(
        network,
        settings.inner_lr,
        settings.first_order,
        engine,
        settings.inner_rates,
        settings.adapt,
        settings.inner_steps,
        settings.head,
        settings.train_statistics,
        settings.statistics,
        settings.precision == "bfloat16"
        or (settings.precision == "auto" and not adapts and bfloat16_pays(device)),
        _rule(settings),
        settings.proximal,
        settings.norm_weights,
        settings.inner_batch,
        settings.eval_inner_lr or None,
    )


def _rule(settings: Settings) -> str | Rule:
    """Returns how tasks make a meta-gradient."""
    if settings.rule == "imaml":
        check_loop(settings.proximal, settings.inner_batch)
        return partial(imaml, damping=settings.cg_damping)
    return maml_by_steps if settings.checkpoint_steps else settings.rule


def load_learner(
    weights: str | Path | Checkpoint,
    ways: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    device: str = "cpu",
    engine: str = "auto",
    channels: int | None = None,
    inner_lr: float | None = None,
) -> Learner:
    """Builds a learner with trained weights, ready to adapt.

    Args:
        weights: a run folder, a checkpoint file, the name of pretrained weights, or a checkpoint.
        ways: number of classes, as trained by default; a trained head fits no other.
        image_size: pixels; one number, or (height, width); as trained by default.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: see `Learner`.
        channels: of the images; as trained by default.
        inner_lr: learning rate of the inner loop; by default as trained, see `Settings.tested`.

    Raises:
        RunError: if there are no such weights, or they do not fit the backbone.
        SettingsError: if their head was trained for another number of ways, or if they were
            trained without inner steps and a rate is asked for.
    """
    checkpoint = weights if isinstance(weights, Checkpoint) else find_weights(weights)
    settings = checkpoint.settings.tested(ways, inner_lr)
    return restore_learner(checkpoint, settings, image_size, device, engine, channels)


def restore_learner(
    checkpoint: Checkpoint,
    settings: Settings,
    image_size: int | tuple[int, int] | None = None,
    device: str = "cpu",
    engine: str = "auto",
    channels: int | None = None,
) -> Learner:
    """Builds a learner with the weights of a checkpoint, and settings made from its own.

    Raises:
        RunError: if the weights do not fit the backbone.
        SettingsError: if their head was trained for another number of ways.
    """
    check_ways(checkpoint.settings, settings.ways, checkpoint.source)
    learner = build_learner(
        settings,
        checkpoint.channels if channels is None else channels,
        checkpoint.image_size if image_size is None else image_size,
        device,
        engine,
    )
    write_learner(learner, checkpoint)
    return learner


def load_pretrained(name: str, device: str = "cpu", engine: str = "auto") -> Learner:
    """Builds a learner with weights included in the package, ready to adapt.

    For names see `l2l_omniglot.experiments.weights.list_pretrained`, for the rest `load_learner`.

    Raises:
        RunError: if there are no such weights, or they do not match their card.
    """
    return load_learner(load_pretrained_checkpoint(name), device=device, engine=engine)


def write_learner(learner: Learner, checkpoint: Checkpoint) -> None:
    """Copies all that a checkpoint has trained into a learner.

    Raises:
        RunError: if they do not fit.
    """
    write_weights(learner.backbone, checkpoint.weights, checkpoint.source, _unused(learner))
    write_weights(learner.rates, checkpoint.rates, checkpoint.source)
    write_weights(learner.head, checkpoint.head, checkpoint.source)
    write_weights(learner.norms, checkpoint.norms, checkpoint.source)
    if checkpoint.population:
        learner.set_extra_state(checkpoint.population)


def load_resized(learner: Learner, checkpoint: Checkpoint) -> None:
    """Copies weights to start a training from, and what else is learned if it is of the same kind.

    A head for another number of ways is resized by `l2l_omniglot.backbones.heads.resize_rows`; of
    more inner steps the first are taken, and for more than there are the last is repeated.

    Raises:
        RunError: if the weights do not fit, other than in the numbers of ways and steps.
    """
    weights, head = dict(checkpoint.weights), head_parameters(learner.backbone)
    if learner.head.computed:
        weights = {name: tensor for name, tensor in weights.items() if name not in head}
    elif not weights.keys() & set(head):  # its head was computed: ours stays as it starts
        weights |= {k: v for k, v in read_weights(learner.backbone).items() if k in head}
    resized = dataclasses.replace(
        checkpoint,
        weights=resize_rows(weights, learner.backbone),
        rates=_if_alike(checkpoint.rates, learner.rates, learner.rates.resized),
        head=_if_alike(checkpoint.head, learner.head),
        norms=_if_alike(checkpoint.norms, learner.norms, learner.norms.resized),
    )
    write_learner(learner, resized)


def _if_alike(
    weights: dict[str, torch.Tensor],
    module: nn.Module,
    resize: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict,
) -> dict[str, torch.Tensor]:
    """Returns the weights, resized, or the present ones if theirs are of another kind of module."""
    current = read_weights(module)
    return resize(weights) if weights.keys() == current.keys() else current


def read_backbone(learner: Learner) -> dict[str, torch.Tensor]:
    """Returns the weights of a learner's backbone, without those of a head that is not used."""
    unused = _unused(learner)
    named = read_weights(learner.backbone)
    return {name: tensor for name, tensor in named.items() if name not in unused}


def _unused(learner: Learner) -> tuple[str, ...]:
    """Returns the parameters of the backbone's own head, if tasks start with another."""
    return head_parameters(learner.backbone) if learner.head.computed else ()


def read_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns copies of a module's parameters and buffers by name, each once even if shared."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def write_weights(
    module: nn.Module,
    weights: dict[str, torch.Tensor],
    source: str,
    unused: Collection[str] = (),
) -> None:
    """Copies weights from `read_weights` into a module, except for those of `unused` names.

    Raises:
        RunError: if names or shapes do not fit; quotes them.
    """
    named = [*module.named_parameters(), *module.named_buffers()]
    tensors = {name: tensor for name, tensor in named if name not in unused}
    if unlike := tensors.keys() ^ weights.keys():
        name = min(unlike)
        where = "the backbone" if name in tensors else "the checkpoint"
        raise RunError(
            f"{source}: its weights do not fit the backbone; {name!r} is only in {where}"
        )
    for name, tensor in tensors.items():
        shape, expected = tuple(weights[name].shape), tuple(tensor.shape)
        if shape != expected:
            raise RunError(f"{source}: {name!r} has shape {shape}; expected {expected}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(weights[name])
