"""The named recipes that settings start from: values by the ways and shots of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from l2l_omniglot.experiments.algorithms import ALGORITHMS

TRAIN_QUERIES, ITERATIONS = 5, 24_000  # of the default recipe, 5-way 1-shot


def _default(ways: int, shots: int) -> dict[str, Any]:
    """Found by measuring: docs/experiments.md, "The default recipe".

    The time of an iteration grows with the images of its tasks; the number of iterations makes
    up for that, so that training takes about as long for any ways and shots.
    """
    images = ways * (shots + TRAIN_QUERIES)
    iterations = max(500, 100 * round(ITERATIONS * 30 / images / 100))
    return {"head": "shared", "iterations": iterations}


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


def _family(ways: int, shots: int) -> dict[str, Any]:
    """One training for any ways and shots: docs/experiments.md, "The rate of the steps"."""
    return {
        "backbone": "cnn4",
        "head": "shared",
        "train_ways": 0 if ways == 20 else 20,
        "train_shots": 0 if shots == 1 else 1,
        "train_queries": 5,
        "meta_batch_size": 4,
        "inner_steps": 2,
        "eval_steps": 5,
        "inner_lr": 0.4,
        "eval_inner_lr": 0.005 * min(ways, 20),
        "meta_lr": 2e-3,
        "schedule": "cosine",
        "warmup": 100,
        "clip_gradients": 1.0,
        "average_weights": 0.998,
        "iterations": 8500,
    }


def _best(_ways: int, _shots: int) -> dict[str, Any]:
    """Prototypical networks for any ways and shots: docs/experiments.md, "The best recipe"."""
    return ALGORITHMS["protonet"] | {
        "algorithm": "protonet",
        "backbone": "resnet8",
        "train_ways": 60,
        "train_shots": 1,
        "train_queries": 5,
        "meta_batch_size": 1,
        "meta_lr": 1e-3,
        "schedule": "cosine",
        "warmup": 200,
        "weight_decay": 1e-2,
        "average_weights": 0.998,
        "statistics": "population",
        "augment": True,
        "mirrors": True,
        "iterations": 10_000,
    }


def _nichol(ways: int, _shots: int) -> dict[str, Any]:
    """Nichol et al. 2018, appendix A, table 5; 20-way numbers from 20 ways."""
    many = ways >= 20
    return {
        "head": "trained",
        "meta_batch_size": 5,
        "inner_steps": 10 if many else 5,
        "inner_batch": 20 if many else 10,
        "iterations": 200_000 if many else 100_000,
        "meta_lr": 1.0,
        "schedule": "linear",
        "train_queries": 5,
    }


def _rajeswaran(ways: int, _shots: int) -> dict[str, Any]:
    """Rajeswaran et al. 2019; meta-batch, rates and iterations from its code (imaml_dev)."""
    steps = 25 if ways >= 20 else 16
    return {
        "inner_steps": steps,
        "eval_steps": steps,
        "inner_lr": 0.1,
        "meta_batch_size": 16 if ways >= 20 else 32,
        "meta_lr": 1e-3,
        "iterations": 20_000,
    }


def _family_fomaml(_ways: int, _shots: int) -> dict[str, Any]:
    """`_family`, longer, as an iteration takes half of the time."""
    return {"iterations": 12_000}


def _family_meta_sgd(ways: int, _shots: int) -> dict[str, Any]:
    """`_family`, with steps that are tested as long as validation likes those of learned rates."""
    return {"eval_steps": 8, "eval_inner_lr": 0.0035 * min(ways, 20)}


def _family_anil(ways: int, _shots: int) -> dict[str, Any]:
    """`_family`, with longer and more steps, as they change the head alone."""
    return {
        "inner_steps": 5,
        "eval_steps": 10,
        "inner_lr": 2.0,
        "eval_inner_lr": 0.05 * min(ways, 20),
        "iterations": 14_000,
    }


def _family_maml_plus_plus(ways: int, _shots: int) -> dict[str, Any]:
    """`_family`, with scales and shifts for each of three steps, which are those of the test."""
    return {
        "norm_weights": "per-step",
        "inner_steps": 3,
        "eval_steps": 3,
        "inner_lr": 0.2,
        "eval_inner_lr": 0.01 * min(ways, 20),
        "iterations": 8000,
    }


def _family_reptile(ways: int, _shots: int) -> dict[str, Any]:
    """`_family`, with five shots of which each of five steps sees its own."""
    return {
        "head": "shared",
        "train_shots": 5,
        "train_queries": 1,
        "inner_batch": 20,
        "eval_steps": 10,
        "inner_lr": 1.0,
        "eval_inner_lr": 0.025 * min(ways, 20),
        "optimiser": "adam",
        "meta_lr": 3e-3,
        "schedule": "cosine",
        "clip_gradients": 0.0,
        "iterations": 10_500,
    }


def _family_imaml(_ways: int, _shots: int) -> dict[str, Any]:
    """`_family`, with more steps, which a smaller lambda than the paper's holds back."""
    return {
        "proximal": 0.1,
        "cg_damping": 10.0,
        "inner_steps": 5,
        "eval_steps": 10,
        "inner_lr": 0.4,
        "iterations": 3600,
    }


RECIPES: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "default": _default,
    "tutorial": _tutorial,
    "paper": _paper,
    "family": _family,
    "best": _best,
}

# What a recipe sets for an algorithm that has a paper, or a search, of its own.
OWN: dict[tuple[str, str], Callable[[int, int], dict[str, Any]]] = {
    ("paper", "reptile"): _nichol,
    ("paper", "imaml"): _rajeswaran,
    ("family", "fomaml"): _family_fomaml,
    ("family", "meta-sgd"): _family_meta_sgd,
    ("family", "anil"): _family_anil,
    ("family", "maml++"): _family_maml_plus_plus,
    ("family", "reptile"): _family_reptile,
    ("family", "imaml"): _family_imaml,
}
