"""Compares meta-gradients at trained weights: how near FOMAML's and iMAML's are to MAML's.

On training tasks of the weights' own split, for the same inner steps: the cosine with the
meta-gradient of second order, and the norm, of the means over all tasks.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from l2l_omniglot._util.rng import all_random
from l2l_omniglot._util.text import table
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.learners import restore_learner
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.chunks import map_chunks

MAML: dict[str, Any] = {"rule": "maml", "first_order": False, "proximal": 0.0, "cg_damping": 0.0}
FOMAML = MAML | {"first_order": True}


def imaml(proximal: float, damping: float) -> dict[str, Any]:
    """Returns the settings of the implicit meta-gradient."""
    return {"rule": "imaml", "first_order": True, "proximal": proximal, "cg_damping": damping}


def meta_gradient(
    checkpoint: Checkpoint, changes: dict[str, Any], tasks: Sequence[Task]
) -> tuple[torch.Tensor, float]:
    """Returns the mean meta-gradient over tasks (N,), and the mean query loss in nats."""
    settings = dataclasses.replace(checkpoint.settings, **changes)
    learner = restore_learner(checkpoint, settings)
    with all_random("directions"):
        parts = map_chunks(
            learner,
            lambda batch, engine: learner.meta_gradient(batch, settings.inner_steps, engine),
            tasks,
            ("directions",),
            0,
        )
    rows = [[g.flatten() for g in part.gradients if g is not None] for part in parts]
    losses = torch.cat([part.scores.losses for part in parts])
    return torch.stack([torch.cat(row) for row in rows]).sum(dim=0) / len(tasks), float(
        losses.mean()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.directions", description=__doc__)
    parser.add_argument("--weights", default="maml", help="name, run folder or file (maml)")
    parser.add_argument("--data", help="other than that of their training")
    parser.add_argument("--tasks", type=int, default=12, help="training tasks (12)")
    parser.add_argument("--first", type=int, default=7000, help="number of the first (7000)")
    parser.add_argument("--steps", type=int, default=5, help="inner steps (5)")
    parser.add_argument("--inner-lr", type=float, default=0.1, help="their learning rate (0.1)")
    parser.add_argument("--proximal", type=float, default=0.1, help="lambda of iMAML (0.1)")
    parser.add_argument("--damping", default="1,3,10", help="of iMAML, several (1,3,10)")
    given = parser.parse_args(arguments)
    checkpoint = find_weights(given.weights)
    settings = checkpoint.settings
    if given.data:
        settings = dataclasses.replace(settings, data=given.data)
    experiment = Experiment.load(checkpoint, open_data(settings), data=settings.data)
    tasks = list(experiment.tasks("train").batch(given.first, given.tasks))
    inner = {"inner_steps": given.steps, "inner_lr": given.inner_lr}
    rules = {"MAML": MAML, "FOMAML": FOMAML} | {
        f"iMAML, damping {damping}": imaml(given.proximal, float(damping))
        for damping in given.damping.split(",")
    }
    lines, exact = [], None
    for name, changes in rules.items():
        found, loss = meta_gradient(checkpoint, inner | changes, tasks)
        exact = found if exact is None else exact
        cosine = float(torch.cosine_similarity(found, exact, dim=0))
        lines.append((name, f"{cosine:.3f}", f"{float(found.norm()):.3f}", f"{loss:.3f}"))
    print(table(("meta-gradient", "cosine with MAML's", "norm", "query loss"), lines))


if __name__ == "__main__":
    main()
