"""The page's app: what it answers, what it refuses, what its headers allow."""

import base64
import dataclasses
import importlib
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import segno
import torch
from flask.testing import FlaskClient
from PIL import Image

from l2l_omniglot import page
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data.frame import measure
from l2l_omniglot.data.splits import make_splits
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.strokes import as_images, draw
from l2l_omniglot.data.synthetic import synthetic_strokes
from l2l_omniglot.errors import DataError, SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.weights import best_pretrained, find_weights
from l2l_omniglot.page import create_app
from l2l_omniglot.page.answers import KEPT, Answers
from l2l_omniglot.page.examples import StackExamples
from l2l_omniglot.page.guard import is_loopback
from l2l_omniglot.page.question import MAX_BODY, MAX_POINTS, MAX_STROKES, Item

PIPE = (((0.5, 0.1), (0.5, 0.9)),)
RING = (tuple((0.5 + 0.3 * np.cos(a), 0.5 + 0.3 * np.sin(a)) for a in np.linspace(0, 6.3, 40)),)
CROSS = (((0.25, 0.25), (0.75, 0.75)), ((0.75, 0.25), (0.25, 0.75)))
SCRIBBLE = (tuple((0.1 + 0.8 * (n % 2), 0.1 + 0.02 * n) for n in range(40)),)


@pytest.fixture(scope="module")
def checkpoint(zero_head: Path) -> Checkpoint:
    return find_weights(zero_head)


@pytest.fixture(scope="module")
def answers(checkpoint: Checkpoint) -> Answers:
    return Answers(checkpoint)


@pytest.fixture
def client(answers: Answers) -> FlaskClient:
    return create_app(answers, "zero-head").test_client()


def example(strokes) -> dict:
    return {"strokes": strokes}


def question(**changes) -> dict:
    return {"support": [[example(PIPE)], [example(RING)]], "query": example(RING), **changes}


# Strokes to pictures.
def test_drawings_are_as_omniglots_wherever_they_are_on_the_pad():
    picture = draw(CROSS)
    assert (picture.size, picture.mode, set(np.unique(picture))) == ((105, 105), "L", {0, 255})
    assert measure(picture).usual
    box = picture.point(lambda value: 255 - value).getbbox()
    assert box == pytest.approx((19, 19, 86, 86), abs=1)
    # Fractions of two, so that nothing is rounded.
    small = tuple(tuple((x / 4, 0.75 + y / 4) for x, y in stroke) for stroke in CROSS)
    assert draw(small) == picture


def test_the_pen_is_as_wide_as_omniglots():
    ink = np.asarray(draw(PIPE)) == 0
    assert set(ink.sum(axis=1)[25:80]) <= {4, 5}
    assert np.flatnonzero(ink.any(axis=1)).size == pytest.approx(67, abs=1)


def test_a_dot_stays_a_dot_in_the_middle():
    ink = np.argwhere(np.asarray(draw((((0.9, 0.1),),))) == 0)
    assert 4 <= len(ink) <= 25  # a square of the pen
    assert ink.mean(axis=0) == pytest.approx((52, 52), abs=1)
    with pytest.raises(DataError, match="without a stroke"):
        draw(())


def test_drawings_become_images_of_either_ink():
    white, black = (as_images([RING, CROSS], 28, ink) for ink in ("white", "black"))
    assert white.shape == (2, 1, 28, 28)
    torch.testing.assert_close(white, 1 - black)
    assert 0.02 < white.mean() < 0.3


# Answers.
def test_answers_are_the_classifiers(client: FlaskClient, checkpoint: Checkpoint):
    support = [[example(PIPE), example(CROSS)], [example(RING)], [example(CROSS)]]
    found = client.post("/api/answer", json=question(support=support)).get_json()
    images = as_images([PIPE, CROSS, RING, CROSS], 28, "white")
    classifier = Classifier(checkpoint, images, torch.tensor([0, 0, 1, 2]), ways=3)
    query = as_images([RING], 28, "white")
    for step, row in enumerate(found["probabilities"]):
        torch.testing.assert_close(torch.tensor([row]), classifier.probabilities(query, step))
    assert len(found["probabilities"]) == 1 + checkpoint.settings.eval_steps
    assert np.argmax(found["probabilities"][-1]) == 1
    seen = np.frombuffer(base64.b64decode(found["seen"]["pixels"]), np.uint8)
    assert (found["seen"]["side"], found["seen"]["ink"]) == (28, "white")
    np.testing.assert_allclose(seen / 255, query.flatten(), atol=0.003)
    torch.testing.assert_close(torch.tensor(found["distances"]), classifier.distances(query)[0])
    known = classifier.certainty
    assert known and found["reach"] == [float(known.distance(3, shots)) for shots in (2, 1, 1)]
    assert found["unlike"] == bool(classifier.none_of_these(query)[0])


def test_where_reach_was_not_measured_nothing_is_unlike(checkpoint: Checkpoint):
    answers = Answers(dataclasses.replace(checkpoint, certainty=None))
    near = answers.nearness(((PIPE,), (RING,)), answers.image(CROSS))
    assert near.reach is None and not near.unlike and len(near.distances) == 2


def test_a_scribble_is_unlike_all_of_the_default_weights():
    answers = Answers(find_weights(best_pretrained()))
    for query, unlike in ((RING, False), (SCRIBBLE, True)):
        assert answers.nearness(((PIPE,), (RING,)), answers.image(query)).unlike == unlike


def test_without_a_query_it_only_adapts(client: FlaskClient):
    done = client.post("/api/answer", json=question(query=None))
    assert (done.status_code, done.get_json()) == (200, {"probabilities": None, "seen": None})


def test_the_last_support_sets_are_kept(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    answers, made = Answers(checkpoint, steps=1), []
    adapt = Classifier.__init__
    monkeypatch.setattr(Classifier, "__init__", lambda *a: made.append(1) or adapt(*a))
    supports = [((PIPE,), (((((i + 1) / 20, 0.3), (0.5, 0.9)),),)) for i in range(KEPT)]
    for support in [*supports, *supports]:
        answers.probabilities(support, answers.image(RING))
    assert len(made) == KEPT
    answers.adapt(((RING,), (CROSS,)))
    answers.adapt(supports[-1])
    assert len(made) == KEPT + 1
    answers.adapt(supports[0])
    assert len(made) == KEPT + 2


def test_threads_take_turns_and_get_their_own_answers(answers: Answers):
    supports = [((PIPE,), (RING,)), ((RING,), (PIPE,)), ((CROSS,), (RING,), (PIPE,))]
    image = answers.image(RING)
    expected = [answers.probabilities(support, image) for support in supports]
    wrong = []

    def ask(number: int) -> None:
        for _ in range(5):
            if answers.probabilities(supports[number], image) != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number % 3,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_weights_for_other_images_are_refused(checkpoint: Checkpoint):
    for facts in ({"channels": 3, "image_size": 28}, {"channels": 1, "image_size": [28, 30]}):
        other = Checkpoint(checkpoint.settings, 0, checkpoint.weights, facts=facts)
        with pytest.raises(SettingsError, match="expected square images of 1 channel"):
            Answers(other)


def test_a_trained_head_takes_its_number_of_characters(trained_head: Path):
    checkpoint = find_weights(trained_head)
    client = create_app(Answers(checkpoint), "x").test_client()
    assert client.get("/api/settings").get_json()["ways"] == [5, 5]
    refused = client.post("/api/answer", json=question())
    assert "support: 2 classes; expected 5 to 5" in refused.get_json()["error"]
    assert client.get("/api/examples?ways=4&shots=1&seed=0").status_code == 400
    found = client.get("/api/examples?ways=5&shots=1&seed=0").get_json()
    del found["answer"]
    (*_, last) = client.post("/api/answer", json=found).get_json()["probabilities"]
    assert len(last) == 5
    wide = dataclasses.replace(
        checkpoint, settings=dataclasses.replace(checkpoint.settings, ways=21)
    )
    with pytest.raises(SettingsError, match="trained for 21 ways; expected at most 20"):
        Answers(wide)


# Bounds.
def many(count: int) -> list:
    return [[0.5, 0.5]] * count


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], r"the request: \[\]; expected an object with query, support"),
        (question(more=1), "expected an object with query, support"),
        (question(support={}), r"support: \{\}; expected a list of classes"),
        (question(support=[[example(PIPE)]]), "support: 1 classes; expected 2 to 20"),
        (question(support=[[example(PIPE)]] * 21), "support: 21 classes; expected 2 to 20"),
        (question(support=[[example(PIPE)], []]), "class 2: 0 examples; expected 1 to 5"),
        (question(support=[[example(PIPE)] * 6] * 2), "class 1: 6 examples; expected 1 to 5"),
        (question(support=[[example(PIPE)], [3]]), "class 2, example 1: 3; expected an object"),
        (question(query=example([])), "the query: 0 strokes; expected 1 to"),
        (question(query=example([[]])), "the query: a stroke: 0 points; expected 1 to"),
        (question(query=example([many(1)] * (MAX_STROKES + 1))), "61 strokes; expected 1 to 60"),
        (question(query=example([many(MAX_POINTS + 1)])), "2001 points; expected 1 to 2000"),
        (question(query=example([many(MAX_POINTS - 1)] * 2)), "3998 points; expected at most 2000"),
        (question(query=example([[[0, 1.01]]])), r"point \[0, 1.01\]: expected \[x, y\]"),
        (question(query=example([[[-0.01, 1]]])), r"both numbers in \[0, 1\]"),
        (question(query=example([[[float("nan"), 1]]])), r"point \[NaN, 1\]"),
        (question(query=example([[["0.5", 1]]])), "both numbers"),
        (question(query=example([[[True, 1]]])), "both numbers"),
        (question(query=example([[[0, 1, 1]]])), "both numbers"),
        (question(query={"item": [0, 0]}), "no stack is loaded; expected strokes"),
        (question(query={"item": [0]}), "item: 1 numbers; expected 2 to 2"),
        (question(query={"item": [0, -1]}), "expected two numbers from 0"),
        (question(query={"item": [0, 1], "strokes": []}), "expected an object with item"),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_a_sentence(client: FlaskClient, asked, said: str):
    refused = client.post("/api/answer", json=asked)
    assert refused.status_code == 400
    assert re.search(said, refused.get_json()["error"])
    assert len(refused.get_json()["error"]) < 200


def test_what_is_just_within_bounds_is_answered(client: FlaskClient):
    line = [[[0.001 * i, 0.123] for i in range(1000)]]
    support = [[example([*line, [[0.001 * k, 0.9]]])] * 5 for k in range(20)]
    strokes = [many(1)] * (MAX_STROKES - 1)
    query = example([*strokes, many(MAX_POINTS - MAX_STROKES + 1)])
    body = json.dumps(question(support=support, query=query), separators=(",", ":"))
    assert len(body) < MAX_BODY
    done = client.post("/api/answer", data=body, content_type="application/json")
    assert done.status_code == 200
    assert len(done.get_json()["probabilities"][0]) == 20


@pytest.mark.parametrize(
    ("data", "kind", "status", "said"),
    [
        (b"{", "application/json", 400, "not readable: "),
        (b"\xff", "application/json", 400, "not readable: "),
        (b"[" * 100_000, "application/json", 400, "not readable: "),
        (b"{}", "text/plain", 415, "expected application/json"),
        (b" " * (MAX_BODY + 1), "application/json", 413, "limit"),
    ],
)
def test_what_is_no_request_is_refused(client: FlaskClient, data, kind, status, said: str):
    refused = client.post("/api/answer", data=data, content_type=kind)
    assert refused.status_code == status
    assert said in refused.get_json()["error"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "ways '': expected a whole number from 2 to 20"),
        ("?ways=21&shots=1&seed=0", "ways '21'"),
        ("?ways=5&shots=6&seed=0", "shots '6': expected a whole number from 1 to 5"),
        ("?ways=5&shots=1&seed=-1", "seed '-1'"),
        ("?ways=5&shots=1&seed=2147483648", "seed '2147483648'"),
        ("?ways=5&shots=1&seed=²", "seed"),
        ("?ways=5&shots=1&seed=0&source=omniglot", "source 'omniglot': not available"),
    ],
)
def test_example_sets_are_bounded(client: FlaskClient, query: str, said: str):
    refused = client.get("/api/examples" + query)
    assert refused.status_code == 400
    assert said in refused.get_json()["error"]


def test_other_addresses_and_methods_are_refused_in_json(client: FlaskClient):
    for done, status in (
        (client.get("/nothing"), 404),
        (client.get("/api/answer"), 405),
        (client.get("/api/item/0/0.png"), 404),
        (client.get("/static/../__init__.py"), 404),
    ):
        assert done.status_code == status
        assert done.get_json()["error"].endswith((".", "server", "URL"))


# Example sets.
def test_an_example_set_of_invented_characters_is_a_question():
    client = create_app(Answers(find_weights(best_pretrained())), "default").test_client()

    def load(seed: int) -> dict:
        return client.get(f"/api/examples?ways=4&shots=2&seed={seed}").get_json()

    first, again, other = load(1), load(1), load(2)
    assert first == again != other
    assert [len(examples) for examples in first["support"]] == [2] * 4
    won = 0
    for seed in range(12):
        found = load(seed)
        answer = found.pop("answer")
        done = client.post("/api/answer", json=found)
        assert done.status_code == 200, done.get_json()
        won += np.argmax(done.get_json()["probabilities"][-1]) == answer
    assert won >= 8  # by chance 3


def test_strokes_are_not_of_the_characters_in_a_stack():
    drawings = synthetic_strokes(3, 2, seed=5)
    assert [len(character) for character in drawings] == [2, 2, 2]
    for character in drawings:
        one, another = character
        assert len(one) == len(another)  # the same strokes by another hand
        assert not np.array_equal(one[0], another[0])
        assert all(stroke.shape[1] == 2 for stroke in one)


@pytest.fixture
def omniglot(stack: ImageStack, checkpoint: Checkpoint) -> StackExamples:
    return StackExamples(stack, make_settings(data="synthetic"))


def test_a_stacks_test_classes_are_examples_too(
    checkpoint: Checkpoint, stack: ImageStack, omniglot: StackExamples
):
    answers = Answers(checkpoint, stack=omniglot)
    client = create_app(answers, "x", omniglot).test_client()
    assert client.get("/api/settings").get_json()["sources"] == ["synthetic", "omniglot"]
    found = client.get("/api/examples?ways=3&shots=2&seed=0&source=omniglot").get_json()
    answer = found.pop("answer")
    classes = {example["item"][0] for examples in found["support"] for example in examples}
    assert len(classes) == 3 and classes <= set(make_splits(stack.info).test)
    assert found["query"]["item"][0] == found["support"][answer][0]["item"][0]
    assert found["query"] not in found["support"][answer]
    assert client.post("/api/answer", json=found).status_code == 200
    number = found["query"]["item"]
    png = client.get(f"/api/item/{number[0]}/{number[1]}.png")
    alpha = np.asarray(Image.open(io.BytesIO(png.data)).getchannel("A"))
    np.testing.assert_allclose(alpha / 255, omniglot.image(Item(*number))[0], atol=0.003)
    refused = client.get("/api/item/60/0.png")
    assert refused.status_code == 400
    assert "there are 60 characters of 20 images" in refused.get_json()["error"]


# Headers.
def test_every_answer_keeps_the_browser_at_home(client: FlaskClient):
    pages = [client.get(path) for path in ("/", "/static/main.js", "/api/settings", "/nothing")]
    for answer in pages:
        answer.close()
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8105"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8105"}, 200),
        ({"Host": "127.0.0.1:8105", "Origin": "http://127.0.0.1:8105"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Host": "127.0.0.1.rebound.example:8105"}, 403),
        ({"Host": "192.168.0.7:8105"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "127.0.0.1:8105", "Origin": "http://elsewhere.example"}, 403),
        ({"Host": "127.0.0.1:8105", "Origin": "http://127.0.0.1:9999"}, 403),
        ({"Host": "127.0.0.1:8105", "Origin": "null"}, 403),
    ],
)
def test_foreign_hosts_and_origins_are_refused(client: FlaskClient, headers, status: int):
    for done in (
        client.get("/api/settings", headers=headers),
        client.post("/api/answer", json=question(), headers=headers),
    ):
        assert done.status_code == status
        if status == 403:
            assert "expected" in done.get_json()["error"]


def test_listening_for_others_takes_their_host_but_no_other_origin(answers: Answers):
    client = create_app(answers, "x", loopback=False).test_client()
    assert client.get("/api/settings", headers={"Host": "box.lan:8105"}).status_code == 200
    foreign = {"Host": "box.lan:8105", "Origin": "http://elsewhere.example"}
    assert client.get("/api/settings", headers=foreign).status_code == 403


def test_which_hosts_are_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "", "::", "10.0.0.1", "localhost.example")))


# The command.
def test_without_flask_it_says_what_to_install():
    code = (
        "import sys; sys.modules['flask'] = None; sys.argv = ['l2l-omniglot', 'draw'];"
        "from l2l_omniglot.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: the page needs flask: pip install 'l2l-omniglot[draw]'\n"


def test_all_of_the_page_is_packaged_and_names_no_other_host():
    folder = Path(page.__file__).parent / "static"
    assert "page/static/*" in (folder.parents[2] / "setup.cfg").read_text()
    files = sorted(path.name for path in folder.iterdir())
    assert {"index.html", "main.js", "style.css"} < set(files)
    for name in files:
        text = (folder / name).read_text()
        allowed = text.replace("http://www.w3.org/2000/svg", "")  # a name, never fetched
        assert "//" not in re.sub(r"(?m)(^|\s)// .*$", "", allowed), name


def test_texts_stand_out_from_their_ground_in_both_themes():
    css = (Path(page.__file__).parent / "static/style.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", part))
                   for part in css.split("@media (prefers-color-scheme: dark)", 1))  # fmt: skip
    for theme in (light, dark):
        for text in ("ink", "soft", "accent", "wrong"):
            for ground in ("ground", "surface", "pad"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        assert contrast(theme["on-accent"], theme["accent"]) >= 4.5
        assert contrast(theme["strong-line"], theme["surface"]) >= 3  # borders of pads


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    dark, light = sorted(luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_a_phone_is_told_an_address_it_can_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    command = importlib.import_module("l2l_omniglot.cli.draw")  # the package's name is a Command
    monkeypatch.setattr(command, "_own_address", lambda: "192.168.1.7")
    command._invite(8105)
    first, *code = capsys.readouterr().out.splitlines()
    link = "http://192.168.1.7:8105/"
    assert first == f"From a phone in the same network: {link}"
    light = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    halves = [[light[letter] for letter in line] for line in code if line]
    dark = np.array([[1 - half[row] for half in line] for line in halves for row in (0, 1)])
    border = segno.make(link, error="l").default_border_size
    expected = np.pad(np.array(list(segno.make(link, error="l").matrix)), border)
    np.testing.assert_array_equal(dark[: len(expected)], expected)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8105/"),
        ("0.0.0.0", "http://127.0.0.1:8105/"),
        ("::", "http://[::1]:8105/"),
        ("fe80::1", "http://[fe80::1]:8105/"),
    ],
)
def test_this_machines_browser_is_told_an_address_it_can_open(host: str, address: str):
    assert importlib.import_module("l2l_omniglot.cli.draw")._address(host, 8105) == address


def test_the_own_address_is_no_other_machines_loopback():
    found = importlib.import_module("l2l_omniglot.cli.draw")._own_address()
    assert found is None or not is_loopback(found)
