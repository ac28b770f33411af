"""Measures the page that `draw --export` writes, in Chromium, against the server's own answers."""

from __future__ import annotations

import argparse
import base64
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from l2l_omniglot._util.text import table
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.page import create_app
from l2l_omniglot.page.answers import Answers
from l2l_omniglot.page.examples import synthetic_set
from l2l_omniglot.page.folder import write_folder

SIZES = (5, 1), (5, 5), (20, 1), (20, 5)  # ways, shots
FLAGS = "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"
SECONDS = 120  # for one answer
# Answers a question; says when, in milliseconds, counted from the opening of the page.
ANSWER = """
const [question, done] = arguments;
const start = performance.now();
import(new URL("static/server.js", location.href))
  .then(({ get }) => get("/api/answer", { body: JSON.stringify(question) }))
  .then((answer) => done({ ...answer, start, end: performance.now() }))
  .catch((error) => done({ error: String(error) }));
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per figure."""
    parser = argparse.ArgumentParser(prog="benchmarks.static_page", description=__doc__)
    parser.add_argument("--weights", default="resnet8", help="pretrained weights (resnet8)")
    parser.add_argument("--rounds", type=int, default=25, help="questions of each size (25)")
    given = parser.parse_args(arguments)
    checkpoint = find_weights(given.weights)
    client = create_app(Answers(checkpoint), given.weights).test_client()
    asked = list(questions(given.rounds))
    with tempfile.TemporaryDirectory() as folder:
        size = write_folder(checkpoint, given.weights, Path(folder) / "site")
        with served(Path(folder) / "site") as address:
            answers = _in_browser(address, asked)
    expected = [client.post("/api/answer", json=question).get_json() for question in asked]
    pixels, shares = zip(*map(differences, answers, expected), strict=True)
    rows = [
        ("size of the folder", f"{size / 1e6:.1f} MB"),
        ("first answer, from opening the page", f"{answers[0]['end']:.0f} ms"),
        (
            "20-way 5-shot, new examples, median",
            f"{_median(answers[-4::-16] + answers[-2::-16]):.0f} ms",
        ),
        ("another query of the same examples, median", f"{_median(answers[1::2]):.0f} ms"),
        ("largest difference of a pixel, of 255", f"{max(pixels)}"),
        ("largest difference of a probability", f"{max(shares):.1e}"),
    ]
    print(f"{platform.platform()}, {given.weights}, {len(asked)} questions")
    print(table(("figure", "value"), rows))


def questions(rounds: int) -> Iterator[dict[str, Any]]:
    """Built-in characters and drawings like a hand's, by turns of two about the same examples."""
    generator = np.random.default_rng(0)
    for seed in range(rounds):
        for ways, shots in SIZES:
            drawn, other = synthetic_set(ways, shots, seed), synthetic_set(ways, shots, seed + 1)
            yield {"support": drawn["support"], "query": drawn["query"]}
            yield {"support": drawn["support"], "query": other["query"]}
            hands = [[hand_drawn(generator) for _ in range(shots)] for _ in range(ways)]
            yield {"support": hands, "query": hands[0][0]}
            yield {"support": hands, "query": hand_drawn(generator)}


def hand_drawn(generator: np.random.Generator) -> dict[str, Any]:
    """Draws one to four strokes: a dot, a few straight lines, or a wobbly line of many points."""
    strokes = []
    for count in generator.choice([1, 4, 60], generator.integers(1, 5)):
        steps = generator.normal(0, 0.02 if count == 60 else 0.15, (count, 2))
        path = generator.uniform(0.2, 0.8, 2) + np.cumsum(steps, axis=0)
        strokes.append(path.clip(0, 1).round(3).tolist())
    return {"strokes": strokes}


def differences(one: dict[str, Any], other: dict[str, Any]) -> tuple[int, float]:
    """Compares two answers: the largest difference of a pixel, and of a probability."""
    if "error" in one:
        raise RuntimeError(one["error"])
    images = [base64.b64decode(answer["seen"]["pixels"]) for answer in (one, other)]
    pixels = max(abs(a - b) for a, b in zip(*images, strict=True))
    shares = np.abs(np.subtract(one["probabilities"], other["probabilities"]))
    return pixels, float(shares.max())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder as anybody would; gives the address."""
    command = [sys.executable, "-um", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout
            port = server.stdout.readline().split("port ")[1].split()[0]
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.kill()


def _in_browser(address: str, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(SECONDS)
        driver.get(address)
        return [driver.execute_async_script(ANSWER, question) for question in asked]
    finally:
        driver.quit()


def _median(answers: Sequence[dict[str, Any]]) -> float:
    return float(median(answer["end"] - answer["start"] for answer in answers))


if __name__ == "__main__":
    main()
