"""Photographs are classified, whatever the support pictures are."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import Picture, Pool
from l2l_omniglot.classify.predictions import Predictions, predictions_table
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.data.drawing import find_drawing
from l2l_omniglot.data.pictures import read_picture
from l2l_omniglot.errors import DataError
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


@pytest.mark.slow  # a photograph takes a third of a second
@pytest.mark.parametrize(
    "support, kind, least, said",
    [
        ("tidy", "small", 19, "in 21 ink was told from light and shade"),
        ("chalk", "chalk", 20, "in 35 light ink was made dark"),
        ("tidy", "table", 19, "in 21 the sheet was found and straightened"),
        ("table", "table", 19, "in 35 the sheet was found and straightened"),
        ("tidy", "squared", 19, "in 21 ruled lines were taken out"),
        ("tidy", "pens", 19, "in 21 ink was told from light and shade"),
    ],
)
def test_photographs_are_classified(pool: Pool, support: str, kind: str, least: int, said: str):
    found = answers(pool, support, kind)
    assert (found.correct, found.known) >= (least, 21)
    text = predictions_table(found)
    assert "Of 35 pictures: " in text and said in text


def test_tidy_drawings_are_left_as_they_are(pool: Pool):
    """But for one whose strokes run together, as those of a wide pen do."""
    found = answers(pool, "tidy", "tidy")
    only = "Of 35 pictures: in 1 ink was centred, scaled and redrawn with one pen."
    assert found.prepared == only and found.doubts == ()
    assert found.correct >= 20


def test_small_queries_on_even_paper_are_noticed(pool: Pool):
    few = [Picture("tidy", c, item) for c in range(3) for item in range(2)]
    support = pool.collection(few)
    queries = pool.collection([Picture("tidy", c, 2) for c in range(3)])
    for number, drawing in enumerate(queries.pictures):
        page = Image.new("L", (600, 600), 255)
        page.paste(drawing.picture.resize((100, 100)), (20 + 90 * number, 400))
        queries.pictures[number] = find_drawing(page, "page")
    found = predict(find_weights("resnet8"), support, queries)
    said = "Of 9 pictures: in 3 ink was centred, scaled and redrawn with one pen."
    assert found.prepared == said
    assert [list(entry.steps) for entry in found.entries] == [["redrawn"]] * 3
    assert found.correct == 3


def test_a_doubt_is_said_and_names_the_picture(pool: Pool):
    few = [Picture("tidy", c, item) for c in range(3) for item in range(2)]
    support, queries = pool.collection(few), pool.collection([Picture("tidy", 0, 2)])
    queries.pictures[0] = replace(queries.pictures[0], doubt="a third of it seems to be ink")
    text = predictions_table(predict(find_weights("resnet8"), support, queries))
    assert "Doubtful: tidy-0-2.jpg: a third of it seems to be ink." in text


def test_a_photograph_of_nothing_is_not_read(tmp_path):
    random = np.random.default_rng(0)
    light = np.linspace(200, 120, 640) + random.normal(0, 3, (480, 640))
    Image.fromarray(light.astype(np.uint8)).save(tmp_path / "desk.png")
    with pytest.raises(DataError, match="blank picture, except for light and shade"):
        read_picture(tmp_path / "desk.png")
