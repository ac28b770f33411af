"""Strokes of a pen, drawn as Omniglot's drawings are: thin black ink on white paper."""

from __future__ import annotations

from typing import TypeAlias

import torch
from PIL import Image, ImageDraw

from l2l_omniglot.data.pictures import LONGER_SIDE, MIDDLE, PAPER, RAW_SIZE, to_images
from l2l_omniglot.errors import DataError

Point: TypeAlias = tuple[float, float]
Stroke: TypeAlias = tuple[Point, ...]
Strokes: TypeAlias = tuple[Stroke, ...]

PEN = 3  # pixels wide, of 105
OVERSAMPLING = 4
SMALLEST = 0.05  # of the paper's side: smaller drawings are dots, and stay small


def draw(strokes: Strokes) -> Image.Image:
    """Draws strokes, moved and scaled to the middle and to the size Omniglot's have on average.

    Args:
        strokes: one or more of one or more points (x, y), y downwards, in any one unit whose
            range is about 1. A stroke of one point is a dot.

    Returns:
        8-bit grey, 105 pixels a side: ink 0 on paper 255, without shades as in the archives.

    Raises:
        DataError: if there is no point to draw.
    """
    points = [point for stroke in strokes for point in stroke]
    if not points:
        raise DataError("a drawing without a stroke: expected at least one point")
    side = RAW_SIZE * OVERSAMPLING
    (middle_x, middle_y), scale = _place(points, side)
    image = Image.new("L", (side, side), PAPER)
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        path = [((x - middle_x) * scale, (y - middle_y) * scale) for x, y in stroke]
        _line(pen, [(x + side / 2, y + side / 2) for x, y in path])
    small = image.resize((RAW_SIZE, RAW_SIZE), Image.Resampling.BOX)
    return small.point(lambda value: 0 if value < MIDDLE else PAPER)


def _place(points: list[Point], side: int) -> tuple[Point, float]:
    """Returns the middle of the drawing, and pixels a unit."""
    (lowest_x, highest_x), (lowest_y, highest_y) = (
        (min(values), max(values)) for values in zip(*points, strict=True)
    )
    longest = max(highest_x - lowest_x, highest_y - lowest_y, SMALLEST)
    scale = side * (LONGER_SIDE - PEN / RAW_SIZE) / longest
    return ((lowest_x + highest_x) / 2, (lowest_y + highest_y) / 2), scale


def _line(pen: ImageDraw.ImageDraw, path: list[Point]) -> None:
    """Draws a line with round ends and corners."""
    width = PEN * OVERSAMPLING
    if len(path) > 1:
        pen.line(path, fill=0, width=width)
    for x, y in path:
        pen.circle((x, y), width / 2, fill=0)


def as_images(drawings: list[Strokes], image_size: int, ink: str) -> torch.Tensor:
    """Turns drawings into images as the network takes them.

    Args:
        drawings: B, see `draw`.
        image_size: pixels a side that they are shrunk to.
        ink: what ink is to the network: ``white`` is 1, ``black`` is 0.

    Returns:
        float32 (B, 1, image_size, image_size) in [0, 1].
    """
    return to_images([draw(strokes) for strokes in drawings], image_size, ink)
