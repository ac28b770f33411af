"""The JSON file beside a stack: its classes' names, its source, its digest."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from l2l_omniglot._util.reading import (
    MOST_JSON,
    UnreadableError,
    parse_json,
    read_text,
    reason_of,
)
from l2l_omniglot.data import KINDS
from l2l_omniglot.errors import DataError

FORMAT = "l2l-omniglot stack 1"
UNRELATED = 2  # keys of a sidecar, at most, that another JSON file has


@dataclass(frozen=True)
class ClassInfo:
    """One class of a stack.

    Attributes:
        name: unique name, e.g. ``background/Greek/character05``.
        subset: ``background`` or ``evaluation``, where known.
        alphabet: e.g. ``Greek``, where known.
        character: e.g. ``character05``, where known.
    """

    name: str
    subset: str = ""
    alphabet: str = ""
    character: str = ""


@dataclass(frozen=True)
class Sidecar:
    """Describes a stack.

    Attributes:
        classes: one entry per class, in the order of the stack.
        source: where the images came from, in words.
        image_size: height and width in pixels.
        background: ``white`` (ink dark, as Omniglot is stored) or ``black``.
        sha256: digest of the array's bytes in C order (not of the file's header).
        counts: images of each class, one class after the other in an array (images, 1, channels,
            H, W), which is read as classes of one image where the sidecar is lost; empty if the
            array has an axis of classes.
        pictures: what is seen of the pictures that it was made of, see
            `l2l_omniglot.data.KINDS`; empty if it was not made of pictures.
        recipe: digest of all that decided what was written, by which a folder's stack is known
            again; empty if it was not made of a folder of classes.
    """

    classes: tuple[ClassInfo, ...]
    source: str
    image_size: int
    background: str
    sha256: str
    counts: tuple[int, ...] = ()
    pictures: str = ""
    recipe: str = ""

    def to_json(self) -> str:
        """Returns the file's text, which has a digest of itself."""
        body = {"format": FORMAT} | {key: value for key, value in vars(self).items() if value}
        body["classes"] = [vars(entry) for entry in body.pop("classes")]  # last, as it is long
        return json.dumps({"digest": _digest(body), **body}, indent=1) + "\n"


def sidecar_path(npy: Path) -> Path:
    """Returns the path of `npy`'s sidecar: the same name, ending in ``.json``."""
    return npy.with_suffix(".json")


def is_sidecar(path: Path) -> bool:
    """Returns whether a JSON file is a sidecar, whole or broken, and not an unrelated file."""
    try:
        return FORMAT in read_text(path, MOST_JSON)
    except UnreadableError:
        return False


def read_sidecar(npy: Path) -> Sidecar | None:
    """Reads the sidecar of `npy`; returns None if there is none or the JSON file is unrelated.

    Raises:
        DataError: if it is damaged, or the JSON file beside the stack is not readable at all.
    """
    path = sidecar_path(npy)
    if not os.path.lexists(path):
        return None
    try:
        text = read_text(path, MOST_JSON)
        body = parse_json(text)
    except (OSError, UnreadableError) as error:
        raise _broken(path, error) from error
    known = len(_KEYS & body.keys()) if isinstance(body, dict) else 0
    if known <= UNRELATED and FORMAT not in text:
        return None
    try:
        digest = body.pop("digest", None)  # one written by hand has none
        if digest is not None and digest != _digest(body):
            raise UnreadableError(
                "its digest does not fit: a bit flipped; or if you edited it, delete its digest"
            )
        if (file_format := body.pop("format")) != FORMAT:
            raise UnreadableError(f"has {file_format!r}; expected {FORMAT!r}")
        body["classes"] = tuple(_class(entry) for entry in body["classes"])
        body["counts"] = tuple(body.get("counts", ()))
        sidecar = Sidecar(**body)
        _check(sidecar)
        return sidecar
    except (KeyError, TypeError, AttributeError, UnreadableError) as error:
        raise _broken(path, error) from error


def _check(sidecar: Sidecar) -> None:
    """Refuses values of another type or range."""
    if not all(isinstance(getattr(sidecar, name), str) for name in _TEXTS):
        raise UnreadableError(f"{', '.join(_TEXTS)}: expected texts")
    if not all(type(count) is int and count > 0 for count in sidecar.counts):
        raise UnreadableError("counts: expected numbers of images, each at least 1")
    for name, known in _CHOICES.items():
        if (value := getattr(sidecar, name)) not in known:
            expected = " or ".join(word for word in known if word)
            raise UnreadableError(f"{name} {value!r}: expected {expected}")
    if len({entry.name for entry in sidecar.classes}) < len(sidecar.classes):
        raise UnreadableError("classes: two have the same name")


def _class(entry: Any) -> ClassInfo:
    if not all(isinstance(value, str) for value in entry.values()):
        raise UnreadableError("classes: expected texts")
    return ClassInfo(**entry)


def _digest(body: dict[str, Any]) -> str:
    """Returns the SHA-256 digest of a sidecar's values, however they are laid out."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: broken sidecar ({reason_of(error)}); run `l2l-omniglot prepare` again, or give "
        "an unrelated file another name"
    )


_CHOICES = {"background": ("white", "black"), "pictures": ("", *KINDS)}
_TEXTS = ("sha256", "source", "pictures", "recipe")
_KEYS = {"digest", "format", *(each.name for each in fields(Sidecar))}
