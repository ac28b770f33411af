"""Uploaded pictures: prepared as `predict` does, kept in questions, within bounds."""

import base64
import io
import json
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient
from PIL import Image, ImageFile
from rounding import PROBABILITY

from l2l_omniglot._util import reading
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.data.picture_folders import read_queries, read_support
from l2l_omniglot.data.pictures import shrink
from l2l_omniglot.data.strokes import draw
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.weights import best_pretrained, find_weights
from l2l_omniglot.page import create_app, upload
from l2l_omniglot.page.answers import Answers
from l2l_omniglot.page.question import MAX_LETTERS, MAX_SIDE, Picture, read_question
from l2l_omniglot.page.upload import PLACES, Uploads
from tools.photographs import drawings, photograph

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"
FILE = "application/octet-stream"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return find_weights(best_pretrained())


@pytest.fixture(scope="module")
def client(checkpoint: Checkpoint) -> FlaskClient:
    return create_app(Answers(checkpoint), "default").test_client()


def saved(image: Image.Image, kind: str = "png") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def send(client: FlaskClient, content: bytes, name: str = "a.png", **more):
    return client.post(f"/api/picture?name={quote(name)}", data=content, content_type=FILE, **more)


def base64_of(*sides: int) -> str:
    return base64.b64encode(bytes(int(np.prod(sides)))).decode()


def question(picture: object) -> bytes:
    example = {"strokes": [[[0.5, 0.5]]]}
    body = {"support": [[example], [example]], "query": {"picture": picture}}
    return json.dumps(body).encode()


# Questions.
@pytest.mark.parametrize("side", [1, 28, MAX_SIDE])
def test_a_question_has_square_pictures(side: int):
    pixels = bytes(n % 256 for n in range(side**2))
    found = read_question(question(base64.b64encode(pixels).decode()))
    assert found.query == Picture(side, pixels)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (None, "picture of null; expected base64"),
        ([0, 0], r"picture of \[0, 0\]; expected base64"),
        ("", "picture of 0 pixels; expected base64 of the pixels of a square"),
        (base64_of(28, 27), "picture of 756 pixels; expected"),
        (base64_of(MAX_SIDE, MAX_SIDE) + "AAAA", f"picture of {MAX_LETTERS + 4} letters; expected"),
        ("A" * 10**6, "picture of 1000000 letters; expected"),
        (base64_of(2, 2)[:-1], 'picture "AAAAAA="; expected'),
        ("AA-A", 'picture "AA-A"; expected'),
        ("AA\nA", "; expected base64"),
        ("é" * 400, "; expected base64"),
        ("=" * 400, "; expected base64"),
    ],
)
def test_other_pictures_in_a_question_are_refused(picture: object, said: str):
    with pytest.raises(SettingsError, match=f"^the query: {said}" if said[0] == "p" else said) as e:
        read_question(question(picture))
    assert len(str(e.value)) < 200


def test_a_picture_is_nothing_but_a_picture():
    body = question(base64_of(2, 2)).replace(b'"picture"', b'"item": [0, 0], "picture"')
    with pytest.raises(SettingsError, match=r'\["item", "picture"\]; expected an object with item'):
        read_question(body)


def test_a_picture_of_another_size_is_scaled_to_the_networks(checkpoint: Checkpoint):
    answers = Answers(checkpoint)
    image = answers.image(Picture(2, bytes([0, 0, 255, 255])))
    assert image.shape == (1, 28, 28) and answers.ink == "white"
    assert image[0, 0].min() == 1 and image[0, -1].max() == 0


# The route.
def test_uploaded_pictures_get_predicts_probabilities(client: FlaskClient, checkpoint: Checkpoint):
    support = read_support(PICTURES / "support")
    queries = read_queries([PICTURES / "query"], support.names)
    expected = predict(checkpoint, support, queries)
    uploaded = {file: prepared(client, file) for file in [*support.files, *queries.files]}
    examples = [
        [uploaded[f] for f, of in zip(support.files, support.classes, strict=True) if of == name]
        for name in support.names
    ]
    for entry in expected.entries:
        asked = {"support": examples, "query": uploaded[entry.file]}
        found = client.post("/api/answer", json=asked).get_json()
        wanted = torch.tensor(list(entry.probabilities.values()))
        last = torch.tensor(found["probabilities"][-1])
        torch.testing.assert_close(last, wanted, atol=PROBABILITY, rtol=0)
        assert found["unlike"] == entry.unlike


def prepared(client: FlaskClient, file: Path) -> dict[str, str]:
    done = send(client, file.read_bytes(), file.name)
    assert done.status_code == 200, done.get_json()
    return {"picture": done.get_json()["picture"]}


def test_a_photograph_is_prepared_as_predict_does_and_it_is_said_how(
    client: FlaskClient, checkpoint: Checkpoint, tmp_path: Path
):
    [[drawing]] = drawings("development", 1, 1)
    for kind in ("phone", "chalk"):
        file = tmp_path / kind / f"{kind}.jpg"
        file.parent.mkdir()
        photograph(kind, drawing, 0).save(file)
        found = send(client, file.read_bytes(), file.name).get_json()
        [entry] = looked_at(checkpoint, file)
        pixels = np.frombuffer(base64.b64decode(found["picture"]), np.uint8)
        np.testing.assert_array_equal(pixels, entry.seen.ravel())
        assert "nk was told from light and shade, " in found["said"]
        assert found["said"].endswith("ink was centred, scaled and redrawn with one pen.")
        assert found["doubt"] == entry.picture.doubt


def looked_at(checkpoint: Checkpoint, file: Path):
    support = read_support(PICTURES / "support")
    return predict(checkpoint, support, read_queries([file], support.names)).query_looks


def test_what_is_usual_is_taken_as_it_is(client: FlaskClient):
    drawn = draw((((0.2, 0.2), (0.8, 0.8)), ((0.8, 0.2), (0.2, 0.8))))
    assert send(client, saved(drawn)).get_json() == {
        "picture": base64.b64encode(shrink(drawn, 28).tobytes()).decode(),
        "said": "Nothing was changed but its size.",
        "doubt": "",
    }


def png_of(width: int, height: int) -> bytes:
    return saved(Image.new("L", (width, height), 255))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png_of(50, 50), "a.png: blank picture, with grey values from 255 to 255"),
        (png_of(500, 4), "a.png: 500 x 4 pixels: too narrow"),
        (b"", "a.png: not a readable picture: expected PNG or JPEG or GIF or TIFF or BMP or WEBP"),
        (b"garbage" * 99, "a.png: not a readable picture: expected PNG"),
        (png_of(50, 50)[:60], "a.png: not a readable picture: "),
        (saved(Image.new("L", (50, 50), 255), "pdf"), "a.png: not a readable picture: expected"),
        (saved(Image.new("RGB", (50, 50)), "eps"), "a.png: not a readable picture: expected PNG"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_a_sentence(client: FlaskClient, content, said: str):
    refused = send(client, content)
    assert refused.status_code == 400
    assert refused.get_json()["error"].startswith(said)
    assert "0x" not in refused.get_json()["error"] and len(refused.get_json()["error"]) < 200


def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upload, "MOST_UPLOADED_PIXELS", 2499)
    content = png_of(50, 50)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    error = send(client, content).get_json()["error"]
    assert error == "a.png: not a readable picture: 2,500 pixels; expected at most 2,499"


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(client: FlaskClient):
    whole = saved(photograph("phone", drawings("development", 1, 1)[0][0], 0), "jpeg")
    assert b"\xff\xda" in whole
    out = io.BytesIO()
    Image.open(io.BytesIO(whole)).save(out, "jpeg", progressive=True)
    several = out.getvalue()
    last = several[several.rindex(b"\xff\xda") : -2]
    for content in (whole, several, whole + 99 * last):  # the last of them behind its end
        assert send(client, content).status_code == 200
    error = send(client, several[:-2] + 50 * last + several[-2:]).get_json()["error"]
    assert error == "a.png: JPEG of more than 50 scans"


def test_files_that_are_too_large_and_other_kinds_are_refused(client: FlaskClient):
    refused = send(client, bytes(reading.MOST_UPLOAD + 1))
    assert refused.status_code == 413
    assert refused.get_json()["error"] == "16777217 bytes: the limit is 16 MiB."
    refused = client.post("/api/picture", data=png_of(50, 50), content_type="image/png")
    assert refused.status_code == 415
    assert refused.get_json()["error"] == "'image/png': expected application/octet-stream"


def test_a_long_name_is_cut_and_none_is_no_error(client: FlaskClient):
    assert send(client, b"", "x" * 500).get_json()["error"].startswith("x" * 60 + ": not")
    refused = client.post("/api/picture", data=b"", content_type=FILE)
    assert refused.get_json()["error"].startswith("the picture: not a readable picture")


@pytest.mark.parametrize(
    "headers", [{"Host": "rebound.example"}, {"Origin": "http://elsewhere.example"}]
)
def test_other_sites_upload_nothing(client: FlaskClient, headers: dict[str, str]):
    assert send(client, png_of(50, 50), headers=headers).status_code == 403


def test_one_picture_at_a_time_is_prepared(monkeypatch: pytest.MonkeyPatch):
    uploads, done = Uploads(28, "white", "drawings"), upload.Prepared("", "", "")

    def prepare(self: Uploads, _content: bytes, _name: str) -> upload.Prepared:
        assert self._turn.locked()
        return done

    monkeypatch.setattr(Uploads, "_prepare", prepare)
    for _ in range(PLACES + 1):  # each place is given back
        assert uploads.prepare(b"", "a.png") == done
    monkeypatch.setattr(Uploads, "_prepare", None)
    for _ in range(PLACES + 1):
        with pytest.raises(TypeError):
            uploads.prepare(b"", "a.png")


def test_where_too_many_wait_one_is_asked_to_try_again(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upload, "PLACES", 0)
    refused = send(create_app(Answers(checkpoint), "default").test_client(), b"")
    assert refused.status_code == 503
    said = "a.png: other pictures are being prepared; try it again."
    assert refused.get_json()["error"] == said


def test_without_scikit_image_it_says_what_to_install(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "skimage", None)
    small = Image.new("L", (105, 105), 255)
    small.paste(0, (3, 3, 20, 8))
    refused = send(client, saved(small))
    assert refused.status_code == 400
    assert refused.get_json()["error"].endswith("pip install 'l2l-omniglot[pictures]'")
