"""Cards of pretrained weights: how they were trained, and what they reach; loads no torch."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from l2l_omniglot._util.files import write_text
from l2l_omniglot._util.reading import read_json, reason_of
from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.experiments.protocols import LAKE, OURS, PROTOCOLS, SETTINGS
from l2l_omniglot.experiments.settings import Settings

# The files of a set of weights, as a repository of Hugging Face has them.
MODEL, CONFIG, README = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class Result:
    """Accuracy on test tasks of one setting, in one mode of batch normalisation."""

    ways: int
    shots: int
    queries: int  # per class
    steps: int  # in the inner loop
    protocol: str  # see `l2l_omniglot.experiments.protocols`
    split: str  # whose test classes
    batch_norm: str
    tasks: int
    accuracy: float  # in [0, 1]
    ci95: float  # half-width of its interval
    date: str

    @property
    def setting(self) -> str:
        """Returns ways and shots, e.g. 5w1s."""
        return f"{self.ways}w{self.shots}s"

    @property
    def place(self) -> tuple[int, str, str, int, int]:
        """Returns what it is the result of, by which results are sorted, too."""
        protocol = list(PROTOCOLS).index(self.protocol)
        return protocol, self.split, self.batch_norm, self.ways, self.shots

    def command(self, name: str) -> str:
        """Returns the command that evaluates the weights of this name so."""
        words = ["l2l-omniglot", "evaluate", "--weights", name]
        if self.protocol == LAKE:
            return shlex.join([*words, "--protocol", LAKE, "--runs", "PATH"])
        words += ["--ways", str(self.ways), "--shots", str(self.shots)]
        if self.protocol != OURS:
            words += ["--protocol", self.protocol]
        if PROTOCOLS[self.protocol].batch_norm not in {"", self.batch_norm}:
            words += ["--batch-norm", self.batch_norm]
        return shlex.join([*words, "--tasks", str(self.tasks)])


@dataclass(frozen=True)
class Card:
    """Documents pretrained weights: their training and their accuracy."""

    name: str  # of their folder, e.g. resnet8
    settings: dict[str, Any]  # of the training run; also say which tasks validated it
    iteration: int  # meta-updates made
    minutes: float  # of training and validation
    validation: float | None  # their accuracy on validation tasks, in [0, 1]; None: unknown
    results: list[Result]  # sorted by `Result.place`
    commands: list[str]  # that trained them, in order
    machine: str  # that trained them
    sha256: str  # digest of the file of weights

    @property
    def trained(self) -> Settings:
        """Returns the settings; those newer than the card have their defaults."""
        return Settings(**self.settings)

    @property
    def cells(self) -> list[str]:
        """Returns the settings that describe the weights; of a trained head only its own."""
        trained = self.trained
        return list(SETTINGS) if trained.any_ways else [f"{trained.ways}w{trained.shots}s"]

    def with_results(self, results: list[Result]) -> Card:
        """Returns the card with these results, which replace others of the same place."""
        by_place = {result.place: result for result in [*self.results, *results]}
        return replace(self, results=[by_place[place] for place in sorted(by_place)])

    def save(self, folder: Path) -> None:
        """Writes ``<name>/config.json``."""
        write_text(folder / self.name / CONFIG, json.dumps(asdict(self), indent=1) + "\n")


def read_card(path: Path) -> Card:
    """Reads a ``config.json``.

    Raises:
        RunError: if it is broken.
    """
    try:
        body = read_json(path)
        card = Card(**{**body, "results": [Result(**entry) for entry in body["results"]]})
        card.trained  # noqa: B018 - are they settings?
        return card
    except (OSError, KeyError, ValueError, TypeError, SettingsError) as error:
        raise RunError(f"{path}: not a readable card: {reason_of(error)}") from error
