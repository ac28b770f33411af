"""Checkpoints: weights and training state as safetensors files; nothing is ever unpickled."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from l2l_omniglot._util.files import atomic_write
from l2l_omniglot.backbones.batch_norm import BatchMoments
from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.experiments.settings import Settings

FORMAT = "l2l-omniglot checkpoint 1"
_MODEL, _RATES, _OPTIMIZER = "model/", "rates/", "optimizer/"
_HEAD, _POPULATION = "head/", "population/"


@dataclass(frozen=True)
class Checkpoint:
    """A learner at one iteration.

    Attributes:
        settings: of the run it comes from.
        iteration: meta-updates made.
        weights: the backbone's parameters and buffers by name.
        optimizer: the optimiser's state; empty if the checkpoint is for evaluation only.
        facts: plain values: digest of the data, channels, image size, versions, the best
            validation accuracy so far.
        source: the file it was read from, for error messages.
        rates: the inner loop's learned rates by name; empty if they are fixed.
        head: what starts the head of a task, by name; empty if the backbone's own head does.
        population: population statistics, if they were measured.
    """

    settings: Settings
    iteration: int
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = "checkpoint"
    rates: dict[str, torch.Tensor] = field(default_factory=dict)
    head: dict[str, torch.Tensor] = field(default_factory=dict)
    population: BatchMoments | None = None

    @property
    def channels(self) -> int:
        """Channels of the images it was trained on."""
        return int(self.facts.get("channels", 1))

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Size of those images in pixels: one number, or (height, width)."""
        size = self.facts.get("image_size", 28)
        return size if isinstance(size, int) else (size[0], size[1])

    def to_bytes(self) -> bytes:
        """Returns the content of its file."""
        parts = {
            _MODEL: self.weights,
            _RATES: self.rates,
            _HEAD: self.head,
            _POPULATION: self.population.tensors() if self.population else {},
            _OPTIMIZER: self.optimizer,
        }
        tensors = {
            part + name: tensor.detach().cpu().contiguous()
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        settings = self.settings.to_dict()
        body = {"settings": settings, "iteration": self.iteration, "facts": self.facts}
        return safetensors.torch.save(tensors, {"format": FORMAT, "checkpoint": json.dumps(body)})

    def save(self, path: Path) -> None:
        """Writes the file atomically."""
        with atomic_write(path) as file:
            file.write(self.to_bytes())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint, its tensors on the CPU.

    Raises:
        RunError: if the file is missing, broken, or not a checkpoint of this package.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise RunError(f"{path}: not a readable checkpoint: {error}") from error
    return read_checkpoint(content, str(path))


def read_checkpoint(content: bytes, source: str) -> Checkpoint:
    """Inverts `Checkpoint.to_bytes`; errors name the source.

    Raises:
        RunError: if the content is broken, or not a checkpoint of this package.
    """
    try:
        tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise RunError(f"{source}: not a readable checkpoint: {error}") from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__", {})
    found = metadata.get("format", "no format")
    if found != FORMAT:
        raise RunError(f"{source}: has {found!r}; expected {FORMAT!r}")
    try:
        body = json.loads(metadata["checkpoint"])
        settings = Settings(**body["settings"])
        iteration, facts = int(body["iteration"]), dict(body["facts"])
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise RunError(f"{source}: its settings cannot be read: {error}") from error
    weights, rates, head, moments, optimizer = (
        {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
        for part in (_MODEL, _RATES, _HEAD, _POPULATION, _OPTIMIZER)
    )
    population = BatchMoments.of(moments) if moments else None
    return Checkpoint(
        settings, iteration, weights, optimizer, facts, source, rates, head, population
    )
