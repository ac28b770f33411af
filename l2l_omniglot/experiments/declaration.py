"""The declaration of a setting, which all that is known of it is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l2l_omniglot.errors import check_choice, check_number, refused

GROUPS = ("task", "algorithm", "optimiser", "data", "run", "computing")


@dataclass(frozen=True)
class Declaration:
    """Declares a setting: checks, options, docs and the command of a run are made from it."""

    name: str  # of the field of `Settings`
    kind: str  # of its values: int, float, bool or str
    default: Any  # unless recipe, algorithm or user set another
    help: str  # for --help and the site; gives the unit of a number
    group: str  # of options: one of `GROUPS`
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  # excluded itself
    choices: tuple[str, ...] = ()  # the possible values, if they can be listed
    otherwise: str = ""  # the option for false, e.g. second-order; no-NAME if empty
    default_words: str = ""  # describes the default if its value does not
    from_recipe: bool = False  # whether some recipe sets it

    @property
    def option(self) -> str:
        """Returns the option; of a pair, the one for true."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def opposite(self) -> str:
        """Returns the option for false."""
        return f"--{self.otherwise or 'no-' + self.option[2:]}"

    @property
    def by_default(self) -> str:
        """Returns the default in words."""
        if self.default_words or self.from_recipe:
            return self.default_words or "recipe"
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def coerce(self, value: Any) -> Any:
        """Converts a value to plain Python, for JSON; accepts NumPy's numbers and paths.

        Raises:
            SettingsError: if it is of another type.
        """
        taken, plain, expected = _KINDS[self.kind]
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, taken) or (isinstance(value, bool) and self.kind != "bool"):
            raise refused(self.name, value, f"expected {expected}")
        try:
            return plain(value)
        except OverflowError as error:  # a whole number beyond all floats
            raise refused(self.name, value, f"expected {expected}") from error

    def check(self, value: Any) -> None:
        """Refuses a value that is out of range.

        Raises:
            SettingsError: quotes the value and what was expected.
        """
        if self.choices:
            check_choice(self.name, value, self.choices)
        if self.kind in {"int", "float"}:
            check_number(
                self.name, value, minimum=self.minimum, maximum=self.maximum, above=self.above
            )

    def words(self, value: Any) -> list[str]:
        """Returns the option and its value, as typed on the command line."""
        if self.kind == "bool":
            return [self.option if value else self.opposite]
        return [self.option, str(value)]


# By the name of a field's type: accepted types, the plain type, and its name in messages.
_KINDS: dict[str, tuple[tuple[type, ...], type, str]] = {
    "int": ((int,), int, "a whole number"),
    "float": ((int, float), float, "a number"),
    "bool": ((bool,), bool, "true or false"),
    "str": ((str, Path), str, "text"),
}


def setting(group: str, default: Any, text: str, **rules: Any) -> Any:
    """Declares a field of `Settings` with its help; `rules` are those of `Declaration`."""
    return field(default=default, metadata={"help": text, "group": group, **rules})
