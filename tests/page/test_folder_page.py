"""The page as a folder, from a plain file server, in a real browser: it answers as the server."""

import base64
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium
from conftest import Once
from person import CROSS, OTHER_RING, PIPE, RING, Person, stayed_at_home

from l2l_omniglot._util.download import fetch
from l2l_omniglot.errors import DownloadError
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.page import create_app
from l2l_omniglot.page.answers import Answers
from l2l_omniglot.page.examples import synthetic_set
from l2l_omniglot.page.folder import write_folder
from l2l_omniglot.page.runtime import ADDRESS, DIGEST

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("folder")]

ANSWER = """
const [question, done] = arguments;
import(new URL("static/server.js", location.href))
  .then(({ get }) => get("/api/answer", { body: JSON.stringify(question) }))
  .then(done, (error) => done({ error: String(error) }));
"""


@pytest.fixture(scope="module")
def site(once: Once) -> Path:
    """The page of the default weights; skipped where onnxruntime-web cannot be had."""

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("L2L_OMNIGLOT_CACHE", str(folder / "cache"))
            try:
                fetch(ADDRESS, folder / "cache", DIGEST)
            except DownloadError as error:
                pytest.skip(str(error))
            write_folder(find_weights("resnet8"), "resnet8", folder / "site")

    return once("static-page", fill) / "site"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a plain file server, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-um", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert server.stdout and server.stdout.readline().startswith(b"Serving")
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def visitor(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Person, str]]:
    """Somebody who looks at the page, in a folder below the server's."""
    profile = tmp_path_factory.mktemp("profile")
    with served(site.parent) as address, chromium(profile, 1280, 900) as driver:
        driver.set_script_timeout(120)
        page = f"{address}site/"
        yield Person(driver, page), page


def test_from_the_first_stroke_to_the_prediction(visitor: tuple[Person, str]):
    person, address = visitor
    assert person.text("network") == "resnet8"
    assert person.text("where") == "in this browser"
    for number, strokes in enumerate((PIPE, RING, CROSS)):
        person.draw(person.pad(number), strokes)
    person.draw(person.pad(), OTHER_RING)
    person.until(lambda: person.text("spoken").startswith("Answer: B, "))
    assert person.find("#distances").is_displayed() and not person.find("#steps").is_displayed()
    for away in ("#or-pictures", "#source-choice", 'button[aria-label^="Choose a picture"]'):
        assert not person.find(away).is_displayed()
    person.find("#tools button[type=submit]").click()
    person.until(lambda: person.text("note").startswith("The query is another drawing of "))
    stayed_at_home(person, address)


def hand_drawn(generator: np.random.Generator) -> dict[str, Any]:
    """A wobbly drawing of many points, or a coarse one of few, with dots."""
    strokes = []
    for _ in range(generator.integers(1, 5)):
        count = int(generator.choice([1, 4, 60]))
        path = generator.uniform(0.2, 0.8, 2) + np.cumsum(
            generator.normal(0, 0.02 if count == 60 else 0.15, (count, 2)), axis=0
        )
        strokes.append(path.clip(0, 1).round(3).tolist())
    return {"strokes": strokes}


def questions() -> list[dict[str, Any]]:
    """Built-in characters, drawings like a hand's, an uploaded picture that was kept."""
    built_in = [synthetic_set(ways, shots, ways) for ways, shots in ((2, 1), (5, 3), (20, 1))]
    generator = np.random.default_rng(0)
    hands = [[hand_drawn(generator) for _ in range(1 + way % 2)] for way in range(10)]
    picture = generator.integers(0, 256, 40 * 40, np.uint8).tobytes()
    kept = {"picture": base64.b64encode(picture).decode()}
    return [
        *({"support": each["support"], "query": each["query"]} for each in built_in),
        {"support": hands, "query": hands[3][0]},
        {"support": [*hands, [kept]], "query": hand_drawn(generator)},
    ]


def test_answers_are_the_servers(visitor: tuple[Person, str]):
    person, _ = visitor
    client = create_app(Answers(find_weights("resnet8")), "resnet8").test_client()
    for question in questions():
        there = client.post("/api/answer", json=question).get_json()
        here = person.driver.execute_async_script(ANSWER, question)
        assert "error" not in here, here
        assert here["seen"] == there["seen"]
        assert here["unlike"] == there["unlike"]
        for name in ("probabilities", "distances", "reach"):
            np.testing.assert_allclose(here[name], there[name], rtol=1e-3, atol=1e-3)
