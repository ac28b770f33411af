"""Settings of a run, and the named recipes they start from."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2l_omniglot.errors import SettingsError, check_name

SCHEDULES = ("constant", "cosine")
ENGINES = ("auto", "learn2learn", "stacked")
BATCH_NORMS = ("transductive", "inductive")
EVALUATED = {name: (name,) for name in BATCH_NORMS} | {"both": BATCH_NORMS}
INNER_RATES = ("fixed", "parameter", "layer-step")
ADAPTED = ("all", "head")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a training run computes.

    Attributes:
        recipe: the name the values came from.
        ways, shots, queries: classes a task, support and query images a class.
        train_queries: query images a class in training tasks (validation and test: `queries`).
        meta_batch_size: tasks an iteration.
        inner_steps: gradient steps K in training.
        eval_steps: gradient steps in validation and evaluation.
        inner_lr: step size of the inner loop (alpha).
        first_order: FOMAML instead of second-order MAML.
        algorithm: the name the following values (and `first_order`) came from.
        adapt: what the inner loop changes: ``all``, or the ``head`` (ANIL).
        inner_rates: ``fixed``, or learned: ``parameter`` (Meta-SGD), ``layer-step`` (MAML++).
        first_order_until, multi_step_until: parts of the iterations in [0, 1], see
            `l2l_omniglot.schedules.Schedule`.
        meta_lr: Adam's learning rate (at the start, where a schedule lowers it).
        schedule: of the meta learning rate over `iterations`: ``constant``, or ``cosine`` to 0.
        iterations: meta-updates.
        rotations: rotated characters as new training classes.
        mirrors: mirrored characters as new training classes.
        ink: what ink becomes in [0, 1]: ``white`` is 1, ``black`` is 0.
        init: of the backbone's last layer, for backbones that have a choice.
        backbone: registered name.
        start_from: whose weights training starts from: a run folder, a checkpoint file, or the
            name of pretrained weights; empty for random ones.
        data: ``omniglot``, ``synthetic`` or the path of a ``.npy`` stack.
        background: of the images as stored: ``auto``, ``white`` or ``black``.
        split: ``tutorial``, ``random``, ``alphabets`` or the path of a JSON file.
        split_seed: of ``random``, and of the characters of ``synthetic``.
        validation_classes: of splits ``tutorial`` and ``random``; 0: 100 of Omniglot's.
        seed: of initial weights and training and validation tasks.
        validation_every: iterations from one validation to the next.
        validation_tasks: tasks a validation; the same ones each time.

    Raises:
        SettingsError: if a value is of another type or out of range; quotes it and what was
            needed.
    """

    recipe: str = "default"
    ways: int = 5
    shots: int = 1
    queries: int = 15
    train_queries: int = 5
    meta_batch_size: int = 8
    inner_steps: int = 1
    eval_steps: int = 5
    inner_lr: float = 0.4
    first_order: bool = False
    algorithm: str = "maml"
    adapt: str = "all"
    inner_rates: str = "fixed"
    first_order_until: float = 0.0
    multi_step_until: float = 0.0
    meta_lr: float = 2e-3
    schedule: str = "cosine"
    iterations: int = 24_000
    rotations: bool = True
    mirrors: bool = False
    ink: str = "white"
    init: str = "zero"
    backbone: str = "basenet"
    start_from: str = ""
    data: str = "omniglot"
    background: str = "auto"
    split: str = "tutorial"
    split_seed: int = 0
    validation_classes: int = 0
    seed: int = 0
    validation_every: int = 1000
    validation_tasks: int = 100

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _typed(field.name, str(field.type), getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise SettingsError(f"{_option(name)} {value}: needed at least {least}")
        if self.ways > MOST_WAYS:
            raise SettingsError(f"--ways {self.ways}: needed at most {MOST_WAYS}")
        for name in ("inner_lr", "meta_lr"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise SettingsError(f"{_option(name)} {value}: needed a number above 0")
        for name in ("first_order_until", "multi_step_until"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(f"{_option(name)} {value}: needed 0 to 1")
        for name, known in _CHOICES.items():
            check_name(_option(name), getattr(self, name), known)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for JSON."""
        return dataclasses.asdict(self)


MOST_WAYS = 100_000
_LEAST = {
    "ways": 2,
    "shots": 1,
    "queries": 1,
    "train_queries": 1,
    "meta_batch_size": 1,
    "inner_steps": 0,
    "eval_steps": 0,
    "iterations": 1,
    "validation_classes": 0,
    "validation_every": 1,
    "validation_tasks": 2,
}
# What makes the algorithms different; each value is an option of its own as well. The last has
# the pieces of Antoniou et al. 2019, "How to train your MAML", but for those that keep batch
# statistics from step to step.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "maml": {"first_order": False},
    "fomaml": {"first_order": True},
    "anil": {"adapt": "head", "inner_steps": 5},
    "meta-sgd": {"inner_rates": "parameter"},
    "maml++": {
        "first_order": False,
        "inner_rates": "layer-step",
        "multi_step_until": 0.15,
        "first_order_until": 0.3,
        "inner_steps": 5,
        "inner_lr": 0.1,
        "schedule": "cosine",
    },
}
_CHOICES = {
    "algorithm": tuple(ALGORITHMS),
    "adapt": ADAPTED,
    "inner_rates": INNER_RATES,
    "schedule": SCHEDULES,
    "ink": ("white", "black"),
    "init": ("zero", "tutorial"),
    "background": ("auto", "white", "black"),
}


# By the name of a field's type: what is taken for it, what it becomes, and how it is called.
_KINDS: dict[str, tuple[tuple[type, ...], type, str]] = {
    "int": ((int,), int, "a whole number"),
    "float": ((int, float), float, "a number"),
    "bool": ((bool,), bool, "true or false"),
    "str": ((str, Path), str, "text"),
}


def _typed(name: str, kind: str, value: Any) -> Any:
    """The value as plain Python has it, for JSON; NumPy's numbers and paths are taken too."""
    taken, plain, needed = _KINDS[kind]
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, taken) or (isinstance(value, bool) and kind != "bool"):
        raise SettingsError(f"{_option(name)} {value!r}: needed {needed}")
    return plain(value)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default(ways: int, shots: int) -> dict[str, Any]:
    """The fields' defaults, found by measuring: docs/results.md, "The default recipe".

    An iteration takes about as long as its tasks have images, so that many iterations take
    about as long for any ways and shots.
    """
    images = ways * (shots + Settings.train_queries)
    return {"iterations": max(500, 100 * round(Settings.iterations * 30 / images / 100))}


def _tutorial(_ways: int, _shots: int) -> dict[str, Any]:
    """The tutorial's numbers: first order in effect, paper 1, head of ones, Adam constant."""
    return {
        "train_queries": 15,
        "meta_batch_size": 8,
        "inner_steps": 5,
        "eval_steps": 5,
        "inner_lr": 0.04,
        "first_order": True,
        "meta_lr": 2e-4,
        "schedule": "constant",
        "iterations": 60_000,
        "rotations": False,
        "ink": "black",
        "init": "tutorial",
        "backbone": "basenet",
    }


def _paper(ways: int, _shots: int) -> dict[str, Any]:
    """Finn et al. 2017, section 5.2 and appendix A.1; 5-way numbers below 20 ways."""
    many = ways >= 20
    return {
        "train_queries": 15,
        "meta_batch_size": 16 if many else 32,
        "inner_steps": 5 if many else 1,
        "eval_steps": 5 if many else 3,
        "inner_lr": 0.1 if many else 0.4,
        "first_order": False,
        "meta_lr": 1e-3,
        "schedule": "constant",
        "iterations": 60_000,
        "rotations": True,
        "ink": "white",
        "backbone": "cnn4",
    }


RECIPES = {"default": _default, "tutorial": _tutorial, "paper": _paper}


def make_settings(recipe: str = "default", **overrides: Any) -> Settings:
    """The settings of a recipe with single values overridden.

    Args:
        recipe: ``default`` (best accuracy in 20 CPU minutes), ``tutorial`` or ``paper``
            (Finn et al. 2017).
        overrides: any field of `Settings`; None counts as not given. `queries` sets
            `train_queries` too, unless that is given.

    Raises:
        SettingsError: unknown recipe or field, or a value out of range.
    """
    check_name("recipe", recipe, RECIPES)
    given = {name: value for name, value in overrides.items() if value is not None}
    if "queries" in given:
        given.setdefault("train_queries", given["queries"])
    known = {field.name: str(field.type) for field in dataclasses.fields(Settings)}
    for name, value in given.items():
        check_name("setting", name, sorted(known))
        given[name] = _typed(name, known[name], value)  # the recipes count with ways and shots
    sizes = given.get("ways", Settings.ways), given.get("shots", Settings.shots)
    values = RECIPES[recipe](*sizes)
    if "algorithm" in given:
        check_name("--algorithm", given["algorithm"], ALGORITHMS)
        values |= ALGORITHMS[given["algorithm"]]
    elif values.get("first_order"):
        values["algorithm"] = "fomaml"
    return Settings(**{**values, **given, "recipe": recipe})
