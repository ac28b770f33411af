"""Where weights come from: the cards of those in the package, the runs of others."""

from __future__ import annotations

import json
import logging
import math
import shlex
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2l_omniglot._util.files import sha256, write_text
from l2l_omniglot.errors import RunError, SettingsError, check_choice, did_you_mean
from l2l_omniglot.experiments.run_folder import MetricsRow, RunFolder, newest_run
from l2l_omniglot.experiments.settings import DECLARED, RECIPES, Settings, make_settings

if TYPE_CHECKING:
    from l2l_omniglot.experiments.checkpoint import Checkpoint


def find_weights(source: str | Path | None = None) -> Checkpoint:
    """Decides which weights are meant, and loads them.

    Args:
        source: a name of pretrained weights, a run folder (its best weights), a checkpoint file,
            or None: the newest run. A `Path`, or a text such as ``./NAME``, is never a name.

    Raises:
        RunError: if there are none, they are broken, or a name is a path here, too.
    """
    names = pretrained_names()
    if isinstance(source, str) and source in names:
        if Path(source).exists():
            raise RunError(
                f"{source}: pretrained weights and a path here have this name; expected "
                f"./{source} for the path"
            )
        return load_pretrained_checkpoint(source)
    if source is not None and not Path(source).exists():
        raise RunError(
            f"{source}: no such run folder or checkpoint, nor pretrained weights; of those there "
            f"are {', '.join(names) or 'none'}{did_you_mean(str(source), names)}"
        )
    path = resolve_checkpoint(None if source is None else Path(source))  # before torch is loaded
    from l2l_omniglot.experiments.checkpoint import load_checkpoint

    return load_checkpoint(path)


def weights_for(ways: int) -> str:
    """The name of the pretrained weights for one shot that suit so many classes best.

    Those trained for about as many classes, then the most accurate of them.

    Raises:
        RunError: if no weights come along.
    """
    cards = [card for card in list_pretrained() if card.trained.shots == 1]
    if not cards:
        raise RunError("no pretrained weights come along; expected a run")
    return min(cards, key=lambda card: _unlike(card, ways)).name


def _unlike(card: Card, ways: int) -> tuple[float, float]:
    return abs(math.log(card.trained.ways / ways)), -card.accuracy["inductive"]["accuracy"]


def resolve_checkpoint(run: Path | None) -> Path:
    """The checkpoint file meant by a run folder, a file, or nothing (the newest run).

    Raises:
        RunError: if there is none.
    """
    if run is not None and run.is_file():
        return run
    folder = newest_run() if run is None else RunFolder(run)
    if folder.best.is_file():
        return folder.best
    if not folder.last.is_file():
        raise RunError(f"{folder.path}: holds no checkpoint yet")
    log.info(f"Note: {folder.path} had no validation yet, so these are not its best weights.")
    return folder.last


PROGRAM = "l2l-omniglot"
log = logging.getLogger(__name__)
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
    check_choice("weights", name, pretrained_names(folder), kind=RunError)
    from l2l_omniglot.experiments.checkpoint import load_checkpoint

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


def _read_card(path: Path) -> Card:
    try:
        card = Card(**json.loads(path.read_text(encoding="utf-8")))
        card.trained  # noqa: B018 - are they settings?
        return card
    except (OSError, ValueError, TypeError, SettingsError) as error:
        raise RunError(f"{path}: not a readable card: {error}") from error


@dataclass(frozen=True)
class History:
    """What is known of a checkpoint beside its weights.

    Attributes:
        name: what to call it: the run folder's, or that of pretrained weights.
        kind: ``run``, ``checkpoint`` (a file that is not in its run folder) or ``pretrained``.
        path: of the file of weights.
        sha256: its digest.
        rows: of the run's ``metrics.csv``.
        sessions: of the run's ``config.json``: ``command``, ``started``, ``versions``.
        machine: what it was made on, where known.
        commands: that it was trained with, one after the other; those of a card, and of a run
            that was resumed.
    """

    name: str
    kind: str
    path: Path
    sha256: str
    rows: list[MetricsRow]
    sessions: list[dict[str, Any]]
    machine: str
    commands: tuple[str, ...] = ()


def history(source: str, checkpoint: Checkpoint) -> History:
    """Tells how a checkpoint came about, as `find_weights` found it by `source`."""
    path = Path(checkpoint.source)
    digest = sha256(path)
    folder = RunFolder(path.parent)
    if not Path(source).exists():
        card = next(card for card in list_pretrained() if card.name == source)
        return History(
            source, "pretrained", path, digest, [], [], card.machine, tuple(card.commands[:-1])
        )
    own = path.name in {folder.best.name, folder.last.name} and folder.config.exists()
    trained = checkpoint.settings  # a run may have been given more iterations since
    if not own or replace(folder.read_settings(), iterations=trained.iterations) != trained:
        return History(path.name, "checkpoint", path, digest, [], [], "")
    name = path.parent.resolve().name
    if path.samefile(source):
        name = f"{name}/{path.name}"
    sessions = folder.read_sessions()
    machine = sessions[-1]["versions"].get("machine", "") if sessions else ""
    typed = tuple(as_typed(session["command"]) for session in sessions)
    rows, commands = folder.read_metrics(), typed if len(typed) > 1 else ()
    return History(name, "run", path, digest, rows, sessions, machine, commands)


def train_command(settings: Settings) -> str:
    """A command line that trains with these settings."""
    recipe = settings.recipe if settings.recipe in RECIPES else "default"
    given: dict[str, Any] = {"ways": settings.ways, "shots": settings.shots}
    for name in ("algorithm", "queries"):  # these set others too
        if getattr(make_settings(recipe, **given), name) != getattr(settings, name):
            given[name] = getattr(settings, name)
    base = make_settings(recipe, **given)
    for name in DECLARED:
        value = getattr(settings, name)
        if name != "recipe" and value != getattr(base, name):
            given[name] = value
    words = [PROGRAM, "train", *([] if recipe == "default" else ["--recipe", recipe])]
    for name, value in given.items():
        words += DECLARED[name].words(value)
    return shlex.join(words)


def as_typed(command: str) -> str:
    """A session's command without the path of the program."""
    words = shlex.split(command)
    return shlex.join([PROGRAM, *words[1:]])
