"""Published algorithms: the settings that make each up, and which of them given settings are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# How the algorithms differ; each value is an option of its own, too.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "maml": {"first_order": False},
    "fomaml": {"first_order": True},
    "anil": {"adapt": "head", "inner_steps": 5},
    "meta-sgd": {"inner_rates": "parameter"},
    # Antoniou et al. 2019, "How to train your MAML"; clipping and warm-up are not theirs, and
    # per-step batch normalisation is left to --norm-weights and --statistics.
    "maml++": {
        "first_order": False,
        "inner_rates": "layer-step",
        "multi_step_until": 0.15,
        "first_order_until": 0.3,
        "inner_steps": 5,
        "inner_lr": 0.1,
        "schedule": "cosine",
        "clip_gradients": 0.5,
        "warmup": 100,
    },
    # Nichol et al. 2018, except for the inner learning rate, which is not Adam's.
    "reptile": {
        "rule": "reptile",
        "first_order": True,
        "head": "zero",
        "train_shots": 10,
        "inner_steps": 5,
        "inner_batch": 10,
        "eval_steps": 50,
        "inner_lr": 0.1,
        "meta_batch_size": 5,
        "optimiser": "sgd",
        "meta_lr": 1.0,
        "schedule": "linear",
    },
    # Rajeswaran et al. 2019.
    "imaml": {
        "rule": "imaml",
        "first_order": True,
        "proximal": 2.0,
        "inner_steps": 16,
        "eval_steps": 16,
        "inner_lr": 0.1,
    },
    # Snell et al. 2017: prototypes, and nothing adapts.
    "protonet": {"head": "prototypes", "inner_steps": 0, "eval_steps": 0, "eval_inner_lr": 0.0},
}

# What no settings of another name have; maml is what has none of these. Several may fit.
_MARKS: dict[str, Callable[[Any], bool]] = {
    "protonet": lambda settings: settings.head == "prototypes" and settings.inner_steps == 0,
    "reptile": lambda settings: settings.rule == "reptile",
    "imaml": lambda settings: settings.rule == "imaml",
    "maml++": lambda settings: (
        settings.rule == "maml"
        and settings.inner_rates == "layer-step"
        and max(settings.multi_step_until, settings.first_order_until) > 0
    ),
    "anil": lambda settings: settings.rule == "maml" and settings.adapt == "head",
    "meta-sgd": lambda settings: settings.rule == "maml" and settings.inner_rates == "parameter",
    "fomaml": lambda settings: (
        settings.rule == "maml" and (settings.first_order or settings.first_order_until == 1)
    ),
}


def fitting(settings: Any) -> list[str]:
    """Returns the names of the algorithms that some `Settings` are, the most telling first."""
    return [name for name, mark in _MARKS.items() if mark(settings)] or ["maml"]
