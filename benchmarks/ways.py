"""Measures one-shot accuracy on test tasks of 2 to 30 ways, with the weights of the package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from l2l_omniglot._util.text import percent, table
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.experiments.experiment import Experiment, open_data
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.weights import Card, list_pretrained, load_pretrained_checkpoint
from l2l_omniglot.meta.evaluation import evaluate

WAYS = (2, 3, 4, 5, 7, 10, 15, 20, 30)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per number of ways."""
    parser = argparse.ArgumentParser(prog="benchmarks.ways", description=__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="test tasks of each number (500)")
    parser.add_argument("--data", default="omniglot", help="as of `train` (omniglot)")
    parser.add_argument("--ways", type=int, nargs="+", default=WAYS, help="numbers of ways")
    given = parser.parse_args(arguments)
    stack = open_data(make_settings(data=given.data))
    cards = list_pretrained()
    free = [card for card in cards if card.trained.any_ways]
    fixed = [card for card in cards if card not in free and card.trained.shots == 1]
    rows = []
    for ways in given.ways:
        found = [accuracy(card, ways, stack, given.tasks) for card in free]
        own = [
            f"{card.name}: {accuracy(card, ways, stack, given.tasks)}"
            for card in fixed
            if card.trained.ways == ways
        ]
        rows.append((str(ways), *found, ", ".join(own)))
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(("ways", *(card.name for card in free), "trained for that number"), rows))


def accuracy(card: Card, ways: int, stack: ImageStack, tasks: int) -> str:
    """Evaluates inductively, with one shot and 15 queries a class, and seed 0."""
    checkpoint = load_pretrained_checkpoint(card.name)
    experiment = Experiment.load(checkpoint, stack, ways=ways)
    stream = experiment.tasks("test", shots=1, queries=15, seed=0)
    steps = checkpoint.settings.eval_steps
    found = evaluate(experiment.learner, stream, tasks, steps, batch_norm="inductive")
    return percent(found.accuracy, found.ci95)


if __name__ == "__main__":
    main()
