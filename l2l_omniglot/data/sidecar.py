"""The JSON file beside a stack: its classes' names, its source, its digest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2l_omniglot.errors import DataError

FORMAT = "l2l-omniglot stack 1"


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
    """

    classes: tuple[ClassInfo, ...]
    source: str
    image_size: int
    background: str
    sha256: str

    def to_json(self) -> str:
        """Returns the file's text."""
        body: dict[str, Any] = {"format": FORMAT, **vars(self)}
        entries = [vars(entry) for entry in body.pop("classes")]  # last, because it is long
        return json.dumps({**body, "classes": entries}, indent=1) + "\n"


def sidecar_path(npy: Path) -> Path:
    """Returns the path of `npy`'s sidecar: the same name, ending in ``.json``."""
    return npy.with_suffix(".json")


def is_sidecar(path: Path) -> bool:
    """Tells whether a JSON file is a sidecar, whole or broken, and not an unrelated file."""
    return FORMAT in path.read_text(encoding="utf-8", errors="replace")


def read_sidecar(npy: Path) -> Sidecar | None:
    """Reads the sidecar of `npy`; returns None if there is none or the JSON file is unrelated."""
    path = sidecar_path(npy)
    if not path.is_file():
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        return None
    try:
        body["classes"] = tuple(ClassInfo(**entry) for entry in body["classes"])
        return Sidecar(**body)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: broken sidecar ({error}); delete it or run `l2l-omniglot prepare` again"
        ) from error
