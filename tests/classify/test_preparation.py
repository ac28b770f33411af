"""Photographs are classified, whatever the support pictures are."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import Picture, Pool
from l2l_omniglot.classify.predictions import Predictions, predictions_table
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.experiments.weights import find_weights

CLASSES = 7


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool("development")


def answers(pool: Pool, support: str, kind: str) -> Predictions:
    """Of 21 queries, three of each of seven classes with two support pictures."""
    few = [Picture(support, c, item) for c in range(CLASSES) for item in range(2)]
    rest = [Picture(kind, c, item) for c in range(CLASSES) for item in (2, 3, 4)]
    return predict(find_weights("resnet8"), pool.collection(few), pool.collection(rest))


@pytest.mark.parametrize(
    "support, kind, least",
    [("tidy", "small", 19), ("chalk", "chalk", 20), ("tidy", "table", 19), ("table", "table", 19)],
)
def test_photographs_are_classified(pool: Pool, support: str, kind: str, least: int):
    found = answers(pool, support, kind)
    assert (found.correct, found.known) >= (least, 21)
    text = predictions_table(found)
    of = "21 queries" if support == "tidy" else "14 support pictures"
    many = "21" if support == "tidy" else "14"
    assert f"({many} of {of}: photographed or not square)" in text
    named = "The sheet of paper was cut out of table-0-"
    assert (named in text) == (kind == "table")


def test_tidy_drawings_are_left_as_they_are(pool: Pool):
    found = answers(pool, "tidy", "tidy")
    assert (found.fitted, found.reason, found.cut_out) == (False, "", ())


def test_small_queries_on_even_paper_are_noticed(pool: Pool):
    few = [Picture("tidy", c, item) for c in range(3) for item in range(2)]
    support = pool.collection(few)
    queries = pool.collection([Picture("tidy", c, 2) for c in range(3)])
    for number, picture in enumerate(queries.pictures):
        page = Image.new("L", (600, 600), 255)
        page.paste(picture.resize((100, 100)), (20 + 90 * number, 400))
        queries.pictures[number] = page
    found = predict(find_weights("resnet8"), support, queries)
    assert found.reason == "the ink of most queries is small, large or off-centre"
    assert found.correct == 3


def test_a_photograph_of_nothing_is_not_read(tmp_path):
    from l2l_omniglot.data.pictures import read_picture
    from l2l_omniglot.errors import DataError

    random = np.random.default_rng(0)
    light = np.linspace(200, 120, 640) + random.normal(0, 3, (480, 640))
    Image.fromarray(light.astype(np.uint8)).save(tmp_path / "desk.png")
    with pytest.raises(DataError, match="blank picture, except for light and shade"):
        read_picture(tmp_path / "desk.png")
