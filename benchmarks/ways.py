"""Measures one-shot accuracy on test tasks of 2 to 30 ways, of weights that fit any number."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.experiments.experiment import OMNIGLOT, Experiment, open_data
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.meta.evaluation import evaluate

WAYS = (2, 3, 4, 5, 7, 10, 15, 20, 30)
QUERIES = 5  # of each class; inductive accuracy does not depend on their number


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per number of ways."""
    parser = argparse.ArgumentParser(prog="benchmarks.ways", description=__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="test tasks of each number (500)")
    parser.add_argument("--ways", type=int, nargs="+", default=WAYS, help="numbers of ways")
    parser.add_argument("--weights", nargs="+", default=["resnet8", "conv4"], help="names")
    parser.add_argument("--data", default=OMNIGLOT, help="name or file (omniglot)")
    given = parser.parse_args(arguments)
    stack, names = open_data(make_settings(data=given.data)), given.weights
    rows = []
    for ways in given.ways:
        rows.append((str(ways), *(accuracy(name, ways, stack, given) for name in names)))
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(("ways", *names), rows))


def accuracy(name: str, ways: int, stack: ImageStack, given: argparse.Namespace) -> str:
    """Evaluates weights inductively, with one shot and seed 0."""
    checkpoint = find_weights(name)
    experiment = Experiment.load(checkpoint, stack, ways=ways, data=given.data)
    stream = experiment.tasks("test", shots=1, queries=QUERIES, seed=0)
    steps = checkpoint.settings.eval_steps
    found = evaluate(experiment.learner, stream, given.tasks, steps, batch_norm="inductive")
    return percent(found.accuracy, found.ci95)


if __name__ == "__main__":
    main()
