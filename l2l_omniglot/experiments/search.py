"""What a search tries: for each setting a range of numbers, or some values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2l_omniglot.errors import SettingsError, did_you_mean, refused
from l2l_omniglot.experiments.declaration import Declaration
from l2l_omniglot.experiments.settings import DECLARED

if TYPE_CHECKING:
    import optuna

# What decides on which tasks, and when, a training is validated: else nothing could be compared.
COMPARED_BY = (
    "recipe", "ways", "shots", "queries", "iterations", "data", "background", "split",
    "split_seed", "validation_classes", "test_classes", "seed", "validation_every",
    "validation_tasks",
)  # fmt: skip
DEFAULT_SEARCH = ("inner_lr=0.01..1:log", "meta_lr=1e-4..1e-2:log", "inner_steps=1..5")
FORMS = "expected SETTING=LOW..HIGH, SETTING=LOW..HIGH:log or SETTING=VALUE,VALUE"
_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True)
class Dimension:
    """The values that a search tries for a setting.

    Attributes:
        name: of the setting.
        text: what was typed.
        ends: the first and the last number of a range, or the values themselves.
        ranged: whether it is a range.
        log: whether numbers of a range are as likely as their logarithms.
    """

    name: str
    text: str
    ends: tuple[Any, ...]
    ranged: bool = False
    log: bool = False

    def suggest(self, trial: optuna.Trial) -> Any:
        """Returns the value that a trial tries."""
        if not self.ranged:
            return trial.suggest_categorical(self.name, self.ends)
        if DECLARED[self.name].kind == "int":
            return trial.suggest_int(self.name, *self.ends, log=self.log)
        return trial.suggest_float(self.name, *self.ends, log=self.log)


def parse_search(texts: Iterable[str]) -> list[Dimension]:
    """Reads what is to be searched, such as ``inner_lr=0.01..1:log`` or ``head=shared,zero``.

    Raises:
        SettingsError: quotes the text that is no such thing, and says what was expected.
    """
    dimensions: dict[str, Dimension] = {}
    for text in texts:
        dimension = _parse(text)
        if dimension.name in dimensions:
            raise refused("search", text, f"{dimension.name} comes twice; expected it once")
        dimensions[dimension.name] = dimension
    return list(dimensions.values())


def _parse(text: str) -> Dimension:
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not (equals and values.strip()):
        raise refused("search", text, FORMS)
    if name not in DECLARED:
        raise refused("search", text, f"expected a setting{did_you_mean(name, DECLARED)}")
    if name in COMPARED_BY:
        why = f"with another {name} validations could not be compared; expected another setting"
        raise refused("search", text, why)
    declared = DECLARED[name]
    if declared.kind in {"int", "float"} and ".." in values:
        return _parse_range(declared, text, values)
    ends = tuple(_value(declared, text, value) for value in values.split(","))
    if len(set(ends)) < max(2, len(ends)):
        raise refused("search", text, f"expected a range or several values of {name}, each once")
    return Dimension(name, text, ends)


def _parse_range(declared: Declaration, text: str, values: str) -> Dimension:
    bounds, _, scale = values.partition(":")
    low, high = (_value(declared, text, bound) for bound in bounds.split("..", 1))
    if scale not in {"", "log"}:
        raise refused("search", text, f"ends in {scale!r}; {FORMS}")
    if not low < high:
        raise refused("search", text, f"expected a range from a lower to a higher {declared.name}")
    if scale and not low > 0:
        raise refused("search", text, f"expected a range above 0 for log, its start is {low:g}")
    return Dimension(declared.name, text, (low, high), ranged=True, log=bool(scale))


def _value(declared: Declaration, text: str, word: str) -> Any:
    """Returns a value of a setting, which is checked as one that is given."""
    kinds: dict[str, Any] = {"int": int, "float": float, "bool": _BOOLS.__getitem__, "str": str}
    try:
        value = declared.coerce(kinds[declared.kind](word.strip()))
        declared.check(value)
    except SettingsError as error:
        raise refused("search", text, str(error)) from error
    except (ValueError, KeyError) as error:
        needed = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        why = f"{word.strip()!r} is no {declared.name}; expected {needed[declared.kind]}"
        raise refused("search", text, why) from error
    return value
