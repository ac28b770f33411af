"""The page of `l2l-omniglot draw`: a Flask app that shows every inner step (extra `draw`).

| request | answer |
| --- | --- |
| ``GET /`` | the page |
| ``GET /api/settings`` | the network's name, steps K, bounds, sources of examples |
| ``GET /api/examples`` | a support set and a query; ``source``, ``ways``, ``shots``, ``seed`` |
| ``GET /api/item/C/N.png`` | image N of class C of the stack, its ink as a mask |
| ``POST /api/answer`` | see `l2l_omniglot.page.question` |
| ``POST /api/picture`` | a picture's file, prepared; its ``name``; see `Prepared` |

Refused requests are answered with 4xx and ``{"error": sentence}``.

``guard`` refuses requests from other sites, ``question`` reads what the page asks, ``answers``
adapts and classifies, ``examples`` draws example sets, ``upload`` prepares pictures. ``folder``
writes the page so that it needs no server, with ``runtime``, onnxruntime-web.
"""

from __future__ import annotations

import base64
from typing import Any

import torch
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import (
    HTTPException,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from l2l_omniglot._util.reading import MOST_UPLOAD, size_text
from l2l_omniglot.errors import DataError, L2LOmniglotError, SettingsError
from l2l_omniglot.page import question as bounds
from l2l_omniglot.page.answers import Answers
from l2l_omniglot.page.examples import STACK, SYNTHETIC, StackExamples, synthetic_set
from l2l_omniglot.page.guard import guard
from l2l_omniglot.page.question import SHOTS, Item, read_question
from l2l_omniglot.page.upload import Uploads

MAX_SEED = 2**31 - 1
MAX_NAME = 60  # letters of a file's name, in sentences
QUESTION, FILE = "application/json", "application/octet-stream"


def create_app(
    answers: Answers, name: str, stack: StackExamples | None = None, loopback: bool = True
) -> Flask:
    """Makes the app, for any WSGI server.

    Args:
        answers: of the network to the page's questions.
        name: of the network, shown on the page.
        stack: images for example sets, besides the invented characters.
        loopback: whether only this machine can reach it, see `guard`.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_UPLOAD  # of questions less, see `_body`
    guard(app, loopback)
    app.register_error_handler(
        HTTPException, lambda error: (jsonify(error=error.description), error.code or 500)
    )
    app.register_error_handler(
        L2LOmniglotError,
        lambda error: (jsonify(error=str(error)), 400 if isinstance(error, SettingsError) else 500),
    )
    _add_answers(app, answers, name, [SYNTHETIC, *([STACK] if stack else [])])
    _add_examples(app, answers.ways, stack)
    _add_uploads(app, Uploads(answers.image_size, answers.ink, answers.kind))
    return app


def page_settings(
    answers: Answers, name: str, sources: list[str], uploads: int = MOST_UPLOAD
) -> dict[str, Any]:
    """Returns what the page is told at first; uploads of 0 bytes are none."""
    return {
        "name": name, "steps": answers.steps, "sources": sources, "ways": answers.ways,
        "shots": SHOTS,
        "strokes": bounds.MAX_STROKES, "points": bounds.MAX_POINTS,
        "side": bounds.MAX_SIDE, "bytes": uploads,
    }  # fmt: skip


def _add_answers(app: Flask, answers: Answers, name: str, sources: list[str]) -> None:
    @app.get("/")
    def index() -> Response:
        return app.send_static_file("index.html")

    @app.get("/api/settings")
    def settings() -> dict[str, Any]:
        return page_settings(answers, name, sources)

    @app.post("/api/answer")
    def answer() -> dict[str, Any]:
        question = read_question(_body(QUESTION, bounds.MAX_BODY), answers.ways)
        if question.query is None:
            answers.adapt(question.support)
            return {"probabilities": None, "seen": None}
        image = answers.image(question.query)
        probabilities = answers.probabilities(question.support, image)
        # The image (1, H, W) as the network receives it: bytes 0 to 255, and which end is ink.
        pixels = (image[0] * 255).round().clamp(0, 255).to(torch.uint8)
        encoded = base64.b64encode(pixels.numpy().tobytes()).decode()
        seen = {"side": len(pixels), "pixels": encoded, "ink": answers.ink}
        return {
            "probabilities": probabilities, "seen": seen,
            **answers.nearness(question.support, image)._asdict(),
        }  # fmt: skip


def _add_examples(app: Flask, ways: tuple[int, int], stack: StackExamples | None) -> None:
    @app.get("/api/examples")
    def examples() -> dict[str, Any]:
        sizes = _number("ways", ways), _number("shots", SHOTS), _number("seed", (0, MAX_SEED))
        source = request.args.get("source", SYNTHETIC)
        if source == STACK and stack:
            return stack.draw_set(*sizes)
        if source != SYNTHETIC:
            raise SettingsError(f"source {source[:40]!r}: not available; expected {SYNTHETIC}")
        return synthetic_set(*sizes)

    @app.get("/api/item/<int:character>/<int:number>.png")
    def item(character: int, number: int) -> Response:
        if stack is None:
            raise NotFound("No stack is loaded.")
        return Response(stack.png(Item(character, number)), mimetype="image/png")


def _add_uploads(app: Flask, uploads: Uploads) -> None:
    @app.post("/api/picture")
    def picture() -> dict[str, str]:
        name = request.args.get("name", "")[:MAX_NAME] or "the picture"
        try:
            return uploads.prepare(_body(FILE, MOST_UPLOAD), name)._asdict()
        except DataError as error:
            raise SettingsError(str(error)) from error


def _body(kind: str, most: int) -> bytes:
    """Returns the request's body, unless it is of another kind, or larger.

    No other site's form can send these kinds; a script needs leave, which is never given.
    """
    if request.mimetype != kind:
        raise UnsupportedMediaType(f"{request.mimetype[:40]!r}: expected {kind}")
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge(
            f"{request.content_length} bytes: the limit is {size_text(most)}."
        )
    return request.get_data()


def _number(name: str, bounds: tuple[int, int]) -> int:
    """Reads a whole number from the query string."""
    text, (least, most) = request.args.get(name, ""), bounds
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise SettingsError(f"{name} {text[:40]!r}: expected a whole number from {least} to {most}")
    return int(text)
