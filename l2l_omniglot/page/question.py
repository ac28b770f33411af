"""The page's questions: support set and query, read from JSON, with bounds on everything."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, NamedTuple, TypeAlias

from l2l_omniglot._util.reading import UnreadableError, parse_json
from l2l_omniglot.data.strokes import Point, Strokes
from l2l_omniglot.errors import SettingsError

WAYS = 2, 20
SHOTS = 1, 5
MAX_STROKES, MAX_POINTS = 60, 2000  # per drawing
MAX_SIDE = 105  # pixels of an uploaded picture, as many as Omniglot's have
MAX_LETTERS = 4 * math.ceil(MAX_SIDE**2 / 3)  # of its pixels in base64
MAX_BODY = 4 * 2**20  # bytes; the largest question, with three decimals, has three million


class Item(NamedTuple):
    """An image of the stack: its class, and its place within the class, from 0."""

    character: int
    number: int


class Picture(NamedTuple):
    """An uploaded picture, prepared: 8-bit grey, dark ink on white paper, row by row."""

    side: int
    pixels: bytes


Example: TypeAlias = Strokes | Item | Picture
Support: TypeAlias = tuple[tuple[Example, ...], ...]


class Question(NamedTuple):
    """A request: the examples of each class, and the one to classify (None: only adapt)."""

    support: Support
    query: Example | None


def read_question(body: bytes, ways: tuple[int, int] = WAYS) -> Question:
    """Reads ``{"support": [[EXAMPLE, ...], ...], "query": EXAMPLE or null}``.

    An EXAMPLE is ``{"strokes": [[[x, y], ...], ...]}`` with x and y in [0, 1], y downwards,
    ``{"item": [character, number]}``, or ``{"picture": BASE64}`` of the pixels of a square
    `Picture`. There are `ways` classes, at least and at most.

    Raises:
        SettingsError: if it is anything else, or exceeds the bounds of this module.
    """
    try:
        request = parse_json(body)
    except UnreadableError as error:
        raise SettingsError(f"the request is not readable: {error}") from error
    fields = _fields(request, "the request", {"support", "query"})
    support = tuple(
        tuple(
            _example(example, f"class {number}, example {shot}")
            for shot, example in enumerate(_list(examples, f"class {number}", SHOTS, "examples"), 1)
        )
        for number, examples in enumerate(_list(fields["support"], "support", ways, "classes"), 1)
    )
    query = fields["query"]
    return Question(support, None if query is None else _example(query, "the query"))


def _example(example: Any, what: str) -> Example:
    if isinstance(example, dict) and "item" in example:
        item = _fields(example, what, {"item"})["item"]
        numbers = _list(item, f"{what}: item", (2, 2), "numbers")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise SettingsError(f"{what}: item {_short(item)}: expected two numbers from 0")
        return Item(*numbers)
    if isinstance(example, dict) and "picture" in example:
        return _picture(_fields(example, what, {"picture"})["picture"], what)
    strokes = _list(
        _fields(example, what, {"strokes"})["strokes"], what, (1, MAX_STROKES), "strokes"
    )
    lists = [_list(stroke, f"{what}: a stroke", (1, MAX_POINTS), "points") for stroke in strokes]
    drawing = tuple(tuple(_point(point, what) for point in points) for points in lists)
    count = sum(map(len, drawing))
    if count > MAX_POINTS:
        raise SettingsError(f"{what}: {count} points; expected at most {MAX_POINTS}")
    return drawing


def _picture(picture: Any, what: str) -> Picture:
    expected = f"expected base64 of the pixels of a square of at most {MAX_SIDE} x {MAX_SIDE}"
    if not isinstance(picture, str) or len(picture) > MAX_LETTERS:
        letters = f"{len(picture)} letters" if isinstance(picture, str) else _short(picture)
        raise SettingsError(f"{what}: picture of {letters}; {expected}")
    try:
        pixels = base64.b64decode(picture, validate=True)
    except ValueError as error:
        raise SettingsError(f"{what}: picture {_short(picture)}; {expected}") from error
    side = math.isqrt(len(pixels))
    if not pixels or side**2 != len(pixels):
        raise SettingsError(f"{what}: picture of {len(pixels)} pixels; {expected}")
    return Picture(side, pixels)


def _point(point: Any, what: str) -> Point:
    pair = point if isinstance(point, list) else []
    if [type(value) in {int, float} and 0 <= value <= 1 for value in pair] == [True, True]:
        x, y = pair
        return float(x), float(y)
    raise SettingsError(f"{what}: point {_short(point)}: expected [x, y], both numbers in [0, 1]")


def _fields(value: Any, what: str, names: set[str]) -> dict[str, Any]:
    keys = sorted(value) if isinstance(value, dict) else value
    if not isinstance(value, dict) or keys != sorted(names):
        expected = ", ".join(sorted(names))
        raise SettingsError(f"{what}: {_short(keys)}; expected an object with {expected}")
    return value


def _list(value: Any, what: str, bounds: tuple[int, int], unit: str) -> list[Any]:
    if not isinstance(value, list):
        raise SettingsError(f"{what}: {_short(value)}; expected a list of {unit}")
    if not bounds[0] <= len(value) <= bounds[1]:
        raise SettingsError(f"{what}: {len(value)} {unit}; expected {bounds[0]} to {bounds[1]}")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
