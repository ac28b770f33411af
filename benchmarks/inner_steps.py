"""What inner steps add to prototypes: gains by rate and scale on validation tasks, then elsewhere.

A gain is the difference of accuracy to no step within the same tasks, inductive, in percentage
points. The rate, scale and what adapts are those that gain most on 5-way 5-shot validation tasks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits

from l2l_omniglot._util.process import keep_freed_memory
from l2l_omniglot._util.text import table
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.experiment import OMNIGLOT, Experiment, open_data
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.evaluation import TaskStream, half_width, mean
from l2l_omniglot.meta.learner import Learner

STEPS = 5
SHOWN = ("1 step", f"{STEPS} steps")
RATES = (1e-3, 1e-2, 1e-1)
SCALES = (1.0, 0.1, 0.01)
SETTINGS = ((5, 1), (5, 5), (20, 5))
SIDE, FRAME = 20, 4  # pixels of a digit, and of the paper around it


class Trial(NamedTuple):
    """What adapts, at which rate, and by what the scale of the logits is multiplied."""

    adapt: str
    rate: float
    scale: float

    def learner(self, weights: Checkpoint, stack: ImageStack) -> Learner:
        """Returns the weights' learner, adapting so."""
        settings = replace(weights.settings, adapt=self.adapt, inner_lr=self.rate)
        learner = Experiment.load(replace(weights, settings=settings), stack).learner
        with torch.no_grad():
            learner.head.get_parameter("scale").mul_(self.scale)
        return learner


def digits() -> ImageStack:
    """Returns scikit-learn's digits as a class stack: (10, 174, 1, 28, 28)."""
    found = load_digits()
    pixels = torch.from_numpy(found.images / 16)[:, None]
    large = torch.nn.functional.interpolate(pixels, SIDE, mode="bilinear")
    framed = torch.nn.functional.pad(large, (FRAME,) * 4).numpy()
    least = np.bincount(found.target).min()
    array = np.stack([framed[found.target == digit][:least] for digit in range(10)])
    return ImageStack(array, background="black", name="digits")


def gains(learner: Learner, tasks: TaskStream, count: int) -> npt.NDArray[np.float64]:
    """Returns accuracies (tasks, K + 1) in percent, after 0, 1, ..., K steps."""
    with learner.evaluating():
        rows = [
            [
                float(after[0].accuracies)
                for after in learner.score_steps(
                    learner.batch([task]), STEPS, batch_norms=["inductive"]
                )
            ]
            for task in tasks.batch(0, count)
        ]
    return 100 * np.array(rows, dtype=np.float64)


def described(found: npt.NDArray[np.float64], step: int) -> str:
    """Returns the gain of a number of steps with its 95 % interval."""
    differences = (found[:, step] - found[:, 0]).tolist()
    return f"{mean(differences):+.2f} ± {half_width(differences):.2f}"


def domains(experiment: Experiment, ways: int, shots: int) -> dict[str, TaskStream]:
    """Returns streams of tasks by name: of classes that did not train, and of other drawings."""
    streams: dict[str, TaskStream] = {
        "validation": experiment.tasks("validation", ways=ways, shots=shots),
        "test": experiment.tasks("test", ways=ways, shots=shots),
        "test, rotated": experiment.tasks("test", ways=ways, shots=shots, rotated="classes"),
    }
    others = {"synthetic": synthetic_stack(seed=0), "digits": digits()}
    for name, stack in others.items():
        if ways <= stack.classes:
            streams[name] = Tasks(stack, range(stack.classes), ways=ways, shots=shots, name="test")
    return streams


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the gains of all trials on validation tasks, and of the best elsewhere."""
    parser = argparse.ArgumentParser(prog="benchmarks.inner_steps", description=__doc__)
    parser.add_argument("--weights", default="conv4", help="with a prototype head (conv4)")
    parser.add_argument("--tasks", type=int, default=100, help="tasks of each figure (100)")
    parser.add_argument("--data", default=OMNIGLOT, help="name or file (omniglot)")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="of the inner loop")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, help="of the logits")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    weights = find_weights(given.weights)
    stack = open_data(replace(weights.settings, data=given.data))
    experiment = Experiment.load(weights, stack, data=given.data)
    trials = [Trial(*values) for values in product(("head", "all"), given.rates, given.scales)]
    best = _choose(trials, weights, experiment, given.tasks)
    learner, rows = best.learner(weights, stack), []
    for ways, shots in SETTINGS:
        for name, tasks in domains(experiment, ways, shots).items():
            found = gains(learner, tasks, given.tasks)
            what = f"{ways}-way {shots}-shot", name, f"{found[:, 0].mean():.2f} %"
            rows.append((*what, *_after(found)))
    print(table(("tasks", "of", "no step", *SHOWN), rows))


def _choose(
    trials: Sequence[Trial], weights: Checkpoint, experiment: Experiment, count: int
) -> Trial:
    """Prints the gain of each trial on validation tasks, and returns the best."""
    tasks = experiment.tasks("validation", ways=5, shots=5)
    found = {t: gains(t.learner(weights, experiment.stack), tasks, count) for t in trials}
    rows = [
        (trial.adapt, f"{trial.rate:g}", f"{trial.scale:g}", *_after(scores))
        for trial, scores in found.items()
    ]
    print(table(("adapts", "rate", "scale", *SHOWN), rows))
    best = max(found, key=lambda trial: (found[trial][:, STEPS] - found[trial][:, 0]).mean())
    print(f"\nMost on validation tasks: {best.adapt}, rate {best.rate:g}, scale {best.scale:g}.\n")
    return best


def _after(found: npt.NDArray[np.float64]) -> list[str]:
    return [described(found, step) for step in (1, STEPS)]


if __name__ == "__main__":
    main()
