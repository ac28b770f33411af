"""The page as a folder, from a plain file server, in a real browser: it answers as the server."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import chromium
from conftest import Once
from person import CROSS, OTHER_RING, PIPE, RING, Person, stayed_at_home

from benchmarks.static_page import ANSWER, differences, questions, served
from l2l_omniglot._util.download import fetch
from l2l_omniglot.errors import DownloadError
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.page import create_app
from l2l_omniglot.page.answers import Answers
from l2l_omniglot.page.folder import write_folder
from l2l_omniglot.page.runtime import ADDRESS, DIGEST

MOST = 1e-3  # difference of probabilities and distances

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("folder")]


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


def test_answers_are_the_servers(visitor: tuple[Person, str]):
    person, _ = visitor
    client = create_app(Answers(find_weights("resnet8")), "resnet8").test_client()
    uploaded = base64.b64encode(bytes(number % 256 for number in range(40 * 40))).decode()
    asked = [*questions(1)]
    asked[-1]["support"][3] = [{"picture": uploaded}]  # of drawings that the server page saved
    for question in asked:
        there = client.post("/api/answer", json=question).get_json()
        here = person.driver.execute_async_script(ANSWER, question)
        pixels, shares = differences(here, there)
        assert pixels == 0 and shares < MOST
        for name in ("distances", "reach"):
            np.testing.assert_allclose(here[name], there[name], rtol=MOST, atol=MOST)
        assert here["unlike"] == there["unlike"]
