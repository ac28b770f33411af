"""Finds weights, pretrained or of a run, and tells how they were trained; loads no torch."""

from __future__ import annotations

import logging
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2l_omniglot._util.files import sha256
from l2l_omniglot.errors import RunError, SettingsError, check_choice, did_you_mean
from l2l_omniglot.experiments.card import CONFIG, MODEL, Card, read_card
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.recipes import RECIPES
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.runs import take_newest
from l2l_omniglot.experiments.settings import DECLARED, Settings, make_settings

if TYPE_CHECKING:
    from l2l_omniglot.experiments.checkpoint import Checkpoint


PROGRAM = "l2l-omniglot"
log = logging.getLogger(__name__)
FOLDER = Path(str(resources.files("l2l_omniglot") / "weights"))


def find_weights(source: str | Path | None = None, default: str = "") -> Checkpoint:
    """Finds and loads weights.

    Args:
        source: a name of pretrained weights, their folder, a run folder (its best weights), a
            checkpoint file, or None: the default. A `Path`, or text such as ``./NAME``, is never
            a name.
        default: a name of pretrained weights; if empty, the newest run.

    Raises:
        RunError: if there are none, they are broken, or the name is also a path here.
    """
    if source is None:
        return load_pretrained_checkpoint(default) if default else _load(newest_file())
    if isinstance(source, str) and _is_name(source):
        return load_pretrained_checkpoint(source)
    return _load(weights_file(_existing(source)))


def _is_name(source: str) -> bool:
    """Returns whether text is a name of pretrained weights; refuses one that is a path, too."""
    if source not in pretrained_names():
        return False
    if Path(source).exists():
        both = f"{source}: pretrained weights and a path here have this name"
        raise RunError(f"{both}; expected ./{source} for the path")
    return True


def _existing(source: str | Path) -> Path:
    """Returns the path; refuses one where nothing is."""
    if source == "":
        raise RunError("'': expected the name of weights, a run folder or a checkpoint file")
    path = Path(source)
    if not path.exists():
        names = pretrained_names()
        raise RunError(
            f"{source}: no such run folder or checkpoint, nor pretrained weights; expected a path "
            f"or one of {', '.join(names)}{did_you_mean(str(source), names)}"
        )
    return path


def _load(path: Path) -> Checkpoint:
    """Loads torch only now, when the file was found."""
    from l2l_omniglot.experiments.checkpoint import load_checkpoint

    return load_checkpoint(path)


def any_ways_names() -> list[str]:
    """Returns the names of the pretrained weights whose head fits any number of ways."""
    return [card.name for card in list_pretrained() if card.trained.any_ways]


def check_ways(trained: Settings, ways: int, name: str, asked: str = "") -> None:
    """Refuses weights with a head trained for another number of ways.

    Args:
        trained: the settings of their training.
        ways: the number that is asked for.
        name: of the weights.
        asked: the same in the user's words, such as ``--ways 7``.

    Raises:
        SettingsError: if so; names the weights that would do.
    """
    if not trained.any_ways and ways != trained.ways:
        free = ", ".join(any_ways_names()) or "a run"
        raise SettingsError(
            f"{asked or f'{ways} ways'}: {name} has a head trained for {trained.ways} ways; "
            f"expected {trained.ways}, or weights for any number: {free}"
        )


def best_pretrained() -> str:
    """Returns the name of the most accurate pretrained weights for any number of classes.

    Test classes choose nothing: it is their accuracy on validation tasks, 20-way 1-shot.

    Raises:
        RunError: if the package includes none.
    """

    def compared(card: Card) -> bool:
        # Other splits have other validation classes, of which some are easier.
        trained = card.trained
        tasks = trained.split, trained.validation_classes, trained.ways, trained.shots
        return trained.any_ways and tasks == (Settings.split, Settings.validation_classes, 20, 1)

    cards = {
        card.validation: card.name
        for card in list_pretrained()
        if card.validation is not None and compared(card)
    }
    if not cards:
        raise RunError("the package includes no pretrained weights; expected a run")
    return cards[max(cards)]


def weights_name(source: str) -> str:
    """Names weights by their file: pretrained ones and the best of a run by their folder."""
    path = Path(source)
    by_folder = path.name in {MODEL, RunFolder(path.parent).best.name}
    return path.resolve().parent.name if by_folder else path.name


def weights_file(path: Path) -> Path:
    """Returns the file of weights: that of a folder, the best of a run, or the path itself.

    Raises:
        RunError: if there is none.
    """
    if path.is_file():
        return path
    if (path / MODEL).is_file():
        return path / MODEL
    folder = RunFolder(path)
    if folder.best.is_file():
        return folder.best
    if not folder.last.is_file():
        raise RunError(
            f"{path}: holds no checkpoint yet; expected the folder of a run that has one"
        )
    log.info(f"Note: {path} has no best weights: no validation has had a finite loss yet.")
    return folder.last


def newest_file() -> Path:
    """Returns the file of weights of the newest run.

    Raises:
        RunError: if there is none.
    """
    return weights_file(take_newest(trained=True).path)


def pretrained_names(folder: Path = FOLDER) -> list[str]:
    """Returns the names of all pretrained weights, sorted, without reading their cards."""
    return sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))


def list_pretrained(folder: Path = FOLDER) -> list[Card]:
    """Reads the cards of all pretrained weights, sorted by name.

    Raises:
        RunError: if a card is broken.
    """
    return [read_card(folder / name / CONFIG) for name in pretrained_names(folder)]


def load_pretrained_checkpoint(name: str, folder: Path = FOLDER) -> Checkpoint:
    """Loads the pretrained weights of a name, and checks them against their card.

    Raises:
        RunError: if there are none, or file and card do not match.
    """
    check_choice("weights", name, pretrained_names(folder), kind=RunError)
    path, card = folder / name / MODEL, read_card(folder / name / CONFIG)
    if not path.is_file():
        raise RunError(f"{path}: missing, though its card is there; install the package again")
    digest = sha256(path)
    if digest != card.sha256:
        raise RunError(
            f"{path}: has SHA-256 {digest[:12]}, its card says {card.sha256[:12]}; it was changed "
            "or cut off: install the package again"
        )
    checkpoint = _load(path)
    if (checkpoint.settings, checkpoint.iteration) != (card.trained, card.iteration):
        raise RunError(f"{path}: was made with other settings than its card says")
    return checkpoint


@dataclass(frozen=True)
class History:
    """How a checkpoint was trained, from its run folder or its card."""

    name: str  # of the run folder, or of pretrained weights
    kind: str  # run, checkpoint (a file outside its run folder) or pretrained
    path: Path  # of the file of weights
    sha256: str
    rows: list[MetricsRow]
    sessions: list[dict[str, Any]]  # see `RunFolder.read_sessions`
    machine: str  # that trained it, if known
    commands: tuple[str, ...] = ()  # of a card, or of a run that was resumed, in order


def history(source: str, checkpoint: Checkpoint) -> History:
    """Tells how a checkpoint was trained that `find_weights` found by `source`."""
    path = Path(checkpoint.source)
    digest = sha256(path)
    if path.name == MODEL and (path.parent / CONFIG).is_file():
        card = read_card(path.parent / CONFIG)
        past = card.machine, tuple(card.commands)
        return History(card.name, "pretrained", path, digest, [], [], *past)
    folder = RunFolder(path.parent)
    of_run = path.name in {folder.best.name, folder.last.name} and folder.config.exists()
    trained = checkpoint.settings  # the run may have got more iterations since
    if not of_run or replace(folder.read_settings(), iterations=trained.iterations) != trained:
        return History(path.name, "checkpoint", path, digest, [], [], "")
    name = folder.path.resolve().name
    if path.samefile(source):
        name = f"{name}/{path.name}"
    sessions = folder.read_sessions()
    machine = sessions[-1]["versions"].get("machine", "") if sessions else ""
    typed = tuple(as_typed(session["command"]) for session in sessions) if sessions[1:] else ()
    return History(name, "run", path, digest, folder.read_metrics(), sessions, machine, typed)


def train_command(settings: Settings) -> str:
    """Returns a command line that trains with these settings."""
    recipe = settings.recipe if settings.recipe in RECIPES else "default"
    given: dict[str, Any] = {"ways": settings.ways, "shots": settings.shots}
    for name in ("algorithm", "queries"):  # they set others, too
        if getattr(make_settings(recipe, **given), name) != getattr(settings, name):
            with suppress(SettingsError):  # if the algorithm is what the other settings make of it
                make_settings(recipe, **given, **{name: getattr(settings, name)})
                given[name] = getattr(settings, name)
    base, values = make_settings(recipe, **given).to_dict(), settings.to_dict()
    told = {"recipe", "algorithm"}
    given |= {k: v for k, v in values.items() if k not in told and v != base[k]}
    words = [PROGRAM, "train", *([] if recipe == "default" else ["--recipe", recipe])]
    for name, value in given.items():
        words += DECLARED[name].words(value)
    return shlex.join(words)


def as_typed(command: str) -> str:
    """Returns a session's command without the path of the program."""
    return shlex.join([PROGRAM, *shlex.split(command)[1:]])
