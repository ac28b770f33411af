"""Weights that come with the package, each with a card that says how they were made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2l_omniglot.errors import RunError, SettingsError, check_name
from l2l_omniglot.files import write_text
from l2l_omniglot.settings import Settings

if TYPE_CHECKING:  # the names and cards are read without torch
    from l2l_omniglot.checkpoint import Checkpoint
    from l2l_omniglot.learner import Learner

FOLDER = Path(str(resources.files("l2l_omniglot") / "weights"))


@dataclass(frozen=True)
class Card:
    """How a file of weights was made, and what it reaches.

    Attributes:
        name: e.g. ``basenet-5w1s``.
        settings: of the training run.
        iteration: the meta-updates behind the weights.
        minutes: of training and validation.
        accuracy: by mode of batch normalisation: ``accuracy`` and ``ci95`` in [0, 1].
        tasks: test tasks behind that.
        split: whose test classes they were drawn from.
        date: of the evaluation.
        commands: that train and evaluate.
        machine: what it was made on.
        sha256: digest of the file of weights.
    """

    name: str
    settings: dict[str, Any]
    iteration: int
    minutes: float
    accuracy: dict[str, dict[str, float]]
    tasks: int
    split: str
    date: str
    commands: list[str]
    machine: str
    sha256: str

    @property
    def trained(self) -> Settings:
        """The settings; those that are newer than the card have their defaults."""
        return Settings(**self.settings)

    def save(self, folder: Path) -> None:
        """Writes ``<name>.json``."""
        write_text(folder / f"{self.name}.json", json.dumps(asdict(self), indent=1) + "\n")


def pretrained_names(folder: Path = FOLDER) -> list[str]:
    """The names of all weights there are, sorted; reads none of their cards."""
    return sorted(path.stem for path in folder.glob("*.json"))


def list_pretrained(folder: Path = FOLDER) -> list[Card]:
    """The cards of all weights there are, by name.

    Raises:
        RunError: if a card is broken.
    """
    return [_read_card(path) for path in sorted(folder.glob("*.json"))]


def load_pretrained_checkpoint(name: str, folder: Path = FOLDER) -> Checkpoint:
    """The checkpoint of that name, if it is what its card says.

    Raises:
        RunError: if there is none, or file and card do not fit each other.
    """
    check_name("pretrained weights", name, pretrained_names(folder), kind=RunError)
    from l2l_omniglot.checkpoint import load_checkpoint

    path = folder / f"{name}.safetensors"
    card = _read_card(folder / f"{name}.json")
    if not path.is_file():
        raise RunError(f"{path}: is not there, though its card is; install the package again")
    digest = sha256(path)
    if digest != card.sha256:
        raise RunError(
            f"{path}: has SHA-256 {digest[:12]}, its card says {card.sha256[:12]}; it was changed "
            "or cut off: install the package again"
        )
    checkpoint = load_checkpoint(path)
    if (checkpoint.settings, checkpoint.iteration) != (card.trained, card.iteration):
        raise RunError(f"{path}: was made with other settings than its card says")
    return checkpoint


def load_pretrained(name: str, device: str = "cpu", engine: str = "auto") -> Learner:
    """A learner with pretrained weights, ready to adapt.

    Args:
        name: e.g. ``basenet-5w1s``; see `list_pretrained`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: see `Learner`.

    Raises:
        RunError: if there are no such weights, or they do not fit their card.
    """
    from l2l_omniglot.experiment import build_learner, write_learner

    checkpoint = load_pretrained_checkpoint(name)
    channels, size = checkpoint.facts["channels"], checkpoint.facts["image_size"]
    learner = build_learner(checkpoint.settings, channels, size, device, engine)
    write_learner(learner, checkpoint)
    return learner


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_card(path: Path) -> Card:
    try:
        card = Card(**json.loads(path.read_text(encoding="utf-8")))
        card.trained  # noqa: B018 - are they settings?
        return card
    except (OSError, ValueError, TypeError, SettingsError) as error:
        raise RunError(f"{path}: not a readable card: {error}") from error
