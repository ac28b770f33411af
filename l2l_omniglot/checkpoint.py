"""Checkpoints: weights and what is needed to go on, as safetensors; nothing is ever unpickled."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.files import atomic_write
from l2l_omniglot.settings import Settings

FORMAT = "l2l-omniglot checkpoint 1"
_MODEL, _RATES, _OPTIMIZER = "model/", "rates/", "optimizer/"


@dataclass
class Checkpoint:
    """A learner at one iteration.

    Attributes:
        settings: of the run it comes from.
        iteration: meta-updates behind it.
        weights: the backbone's parameters and buffers by name.
        optimizer: the optimiser's state; empty in a checkpoint that is only for evaluation.
        facts: plain values beside them: digest of the data, channels, image size, versions,
            the best validation so far.
        source: the file it was read from, for error messages.
        rates: the inner loop's learned rates by name; empty where they are fixed.
    """

    settings: Settings
    iteration: int
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = "checkpoint"
    rates: dict[str, torch.Tensor] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the file atomically."""
        named = {_MODEL + name: tensor for name, tensor in self.weights.items()}
        named |= {_RATES + name: tensor for name, tensor in self.rates.items()}
        named |= {_OPTIMIZER + name: tensor for name, tensor in self.optimizer.items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
        body = {
            "settings": self.settings.to_dict(),
            "iteration": self.iteration,
            "facts": self.facts,
        }
        metadata = {"format": FORMAT, "checkpoint": json.dumps(body)}
        with atomic_write(path) as file:
            file.write(safetensors.torch.save(tensors, metadata))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint, its tensors on the CPU.

    Raises:
        RunError: if the file is missing, broken, or no checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise RunError(f"{path}: not a readable checkpoint: {error}") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "no format")
        raise RunError(f"{path}: has {found!r}; needed {FORMAT!r}")
    try:
        body = json.loads(metadata["checkpoint"])
        settings = Settings(**body["settings"])
        iteration, facts = int(body["iteration"]), dict(body["facts"])
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise RunError(f"{path}: its settings cannot be read: {error}") from error
    weights, rates, optimizer = (_under(tensors, part) for part in (_MODEL, _RATES, _OPTIMIZER))
    return Checkpoint(settings, iteration, weights, optimizer, facts, str(path), rates)


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def read_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a module's parameters and buffers by name, each once even if shared."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def write_weights(module: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Puts weights from `read_weights` into a module, in place.

    Raises:
        RunError: if names or shapes do not fit; says which.
    """
    own = dict([*module.named_parameters(), *module.named_buffers()])
    wrong = sorted(set(own) ^ set(weights))
    if wrong:
        raise RunError(
            f"{source}: its weights do not fit the backbone; {wrong[0]!r} is only in "
            f"{'the backbone' if wrong[0] in own else 'the checkpoint'}"
        )
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise RunError(
                f"{source}: {name!r} has shape {tuple(weights[name].shape)}; the backbone needs "
                f"{tuple(tensor.shape)}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
