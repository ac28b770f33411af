"""Measures the milliseconds from a query to the answer of the page of `draw`, server included."""

from __future__ import annotations

import argparse
import http.client
import json
import platform
import threading
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from waitress import create_server

from l2l_omniglot._util.text import table
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.page import create_app
from l2l_omniglot.page.answers import Answers, settle
from l2l_omniglot.page.examples import synthetic_set

SIZES = (5, 1), (5, 5), (20, 1), (20, 5)  # ways, shots


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per size."""
    parser = argparse.ArgumentParser(prog="benchmarks.draw", description=__doc__)
    parser.add_argument("--weights", default="resnet8", help="pretrained weights (resnet8)")
    parser.add_argument("--rounds", type=int, default=30, help="number of different queries (30)")
    given = parser.parse_args(arguments)
    answers = Answers(find_weights(given.weights))
    server = create_server(create_app(answers, given.weights), host="127.0.0.1", port=0)
    settle()
    threading.Thread(target=server.run, daemon=True).start()
    rows = []
    for ways, shots in SIZES:
        first, later = _seconds(server.effective_port, ways, shots, given.rounds)
        slowest = sorted(later)[round(0.95 * (len(later) - 1))]
        rows.append((f"{ways}-way {shots}-shot", *map(_ms, (first, median(later), slowest))))
    print(
        f"{platform.platform()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{given.weights}, {answers.steps} steps"
    )
    print(table(("support", "with adapting", "query, median", "95th percentile"), rows))


def _seconds(port: int, ways: int, shots: int, rounds: int) -> tuple[float, list[float]]:
    """Times the first query of a support set, and later ones."""
    support = synthetic_set(ways, shots, seed=0)["support"]
    queries = [synthetic_set(ways, shots, seed)["query"] for seed in range(rounds + 1)]
    times = [_ask(port, {"support": support, "query": query}) for query in queries]
    return times[0], times[1:]


def _ask(port: int, question: dict[str, Any]) -> float:
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body, kind = json.dumps(question), {"Content-Type": "application/json"}
    connection.request("POST", "/api/answer", body, kind)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(text.decode())
    return time.perf_counter() - start


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    main()
