"""Checkpoints: weights and training state as safetensors files; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from l2l_omniglot._util.files import atomic_write
from l2l_omniglot._util.reading import (
    MOST_CHECKPOINT,
    UnreadableError,
    parse_json,
    read_bytes,
    reason_of,
)
from l2l_omniglot.backbones.passes import Moments
from l2l_omniglot.data import DRAWINGS, KINDS
from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.experiments.certainty import Certainty
from l2l_omniglot.experiments.settings import Settings

FORMAT = "l2l-omniglot checkpoint 1"
_MODEL, _RATES, _OPTIMIZER = "model/", "rates/", "optimizer/"
_HEAD, _NORMS, _POPULATION = "head/", "norms/", "population/"


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
        norms: scale and shift of batch normalisation for each step; empty if they adapt.
        population: population statistics, if they were measured.
        certainty: how sure its predictions are, if that was measured.
    """

    settings: Settings
    iteration: int
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = "checkpoint"
    rates: dict[str, torch.Tensor] = field(default_factory=dict)
    head: dict[str, torch.Tensor] = field(default_factory=dict)
    norms: dict[str, torch.Tensor] = field(default_factory=dict)
    population: Moments | None = None
    certainty: Certainty | None = None

    @property
    def channels(self) -> int:
        """Returns the channels of the images it was trained on."""
        return int(self.facts.get("channels", 1))

    @property
    def pictures(self) -> str:
        """Returns what is seen of a picture, see `l2l_omniglot.data.KINDS`."""
        return str(self.facts.get("pictures") or DRAWINGS)

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Returns the size of those images in pixels: one number, or (height, width)."""
        size = self.facts.get("image_size", 28)
        return size if isinstance(size, int) else (size[0], size[1])

    def to_bytes(self) -> bytes:
        """Returns the content of its file."""
        parts = {
            _MODEL: self.weights,
            _RATES: self.rates,
            _HEAD: self.head,
            _NORMS: self.norms,
            _POPULATION: self.population or {},
            _OPTIMIZER: self.optimizer,
        }
        tensors = {
            part + name: tensor.detach().cpu().contiguous()
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        settings = self.settings.to_dict()
        body = {"settings": settings, "iteration": self.iteration, "facts": self.facts}
        if self.certainty:
            body["certainty"] = asdict(self.certainty)
        metadata = {"format": FORMAT, "checkpoint": json.dumps(body)}
        return _seal(safetensors.torch.save(tensors, metadata))

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
        content = read_bytes(Path(path), MOST_CHECKPOINT)
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such checkpoint") from error
    except (OSError, UnreadableError) as error:
        raise RunError(f"{path}: not a readable checkpoint: {reason_of(error)}") from error
    return read_checkpoint(content, str(path))


def read_checkpoint(content: bytes, source: str) -> Checkpoint:
    """Inverts `Checkpoint.to_bytes`; errors name the source.

    Raises:
        RunError: if the content is broken, or not a checkpoint of this package.
    """
    try:
        tensors = safetensors.torch.load(content)
        header, data = _parts(content)
        metadata = header.get("__metadata__") or {}
        digest = metadata.pop("digest", None)
        if digest is not None and digest != _digest(header, data):
            raise UnreadableError("its digest does not fit: it was changed, or a bit flipped")
    except Exception as error:  # safetensors, torch and numpy raise many kinds
        raise RunError(
            f"{source}: not a readable checkpoint, expected a .safetensors file of a run: {error}"
        ) from error
    file_format = metadata.get("format", "no format")
    if file_format != FORMAT:
        raise RunError(f"{source}: has {file_format!r}; expected {FORMAT!r}")
    if unknown := metadata.keys() - {"format", "checkpoint"}:
        raise RunError(f"{source}: not a readable checkpoint: unknown entry {min(unknown)!r}")
    try:
        body = parse_json(metadata["checkpoint"])
        settings = Settings(**body["settings"])
        iteration, facts = int(body["iteration"]), dict(body["facts"])
        certainty = Certainty(**body["certainty"]) if "certainty" in body else None
        _check_facts(facts)
    except (KeyError, TypeError, ValueError, OverflowError, SettingsError) as error:
        raise RunError(f"{source}: its settings cannot be read: {reason_of(error)}") from error
    weights, rates, head, norms, moments, optimizer = (
        {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
        for part in (_MODEL, _RATES, _HEAD, _NORMS, _POPULATION, _OPTIMIZER)
    )
    if settings.head == "shared":
        _drop_shared_bias(head, optimizer)
    return Checkpoint(
        settings,
        iteration,
        weights,
        optimizer,
        facts,
        source,
        rates,
        head,
        norms,
        moments or None,
        certainty,
    )


def _drop_shared_bias(head: dict[str, torch.Tensor], optimizer: dict[str, torch.Tensor]) -> None:
    """Drops the bias that a shared head once trained, though it cancels in the softmax.

    It was the last of all trained parameters, which number the optimiser's tensors.
    """
    if head.pop("bias", None) is not None and optimizer:
        last = max(int(name.partition(".")[0]) for name in optimizer)
        for name in [name for name in optimizer if name.partition(".")[0] == str(last)]:
            del optimizer[name]


def _seal(content: bytes) -> bytes:
    """Adds a digest to the header of a safetensors file, of all the rest of it."""
    header, data = _parts(content)
    header["__metadata__"]["digest"] = _digest(header, data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data


def _parts(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Returns the header and the tensors' bytes of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = parse_json(content[8:end])
    return header, memoryview(content)[end:]


def _digest(header: dict[str, Any], data: memoryview) -> str:
    """Returns the SHA-256 digest of header and tensors."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


def _check_facts(facts: dict[str, Any]) -> None:
    """Refuses facts of other types than those that are used."""
    size = facts.get("image_size", 28)
    for side in size if isinstance(size, list) and len(size) == 2 else [size]:
        if type(side) is not int or not 0 < side < 2**16:
            raise UnreadableError(f"image_size {size!r}: expected pixels")
    if facts.get("channels", 1) not in (1, 3):
        raise UnreadableError(f"channels {facts['channels']!r}: expected 1 or 3")
    if facts.get("pictures", "") not in ("", *KINDS):
        raise UnreadableError(f"pictures {facts['pictures']!r}: expected {' or '.join(KINDS)}")
    for name in ("minutes", "best_validation_accuracy", "skipped_updates"):
        value = facts.get(name)
        if value is not None and type(value) not in (int, float):
            raise UnreadableError(f"{name} {value!r}: expected a number")
