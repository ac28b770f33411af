"""Draws pen strokes as Omniglot's drawings are: thin black ink on white paper."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw

from l2l_omniglot.data.frame import LONGER_SIDE, MIDDLE, PAPER, PEN, RAW_SIZE
from l2l_omniglot.data.pictures import to_images
from l2l_omniglot.errors import DataError

Point: TypeAlias = tuple[float, float]
Stroke: TypeAlias = tuple[Point, ...]
Strokes: TypeAlias = tuple[Stroke, ...]

OVERSAMPLING = 4
SMALLEST = 0.05  # of the paper's side: smaller drawings are dots, and stay small


def draw(strokes: Strokes, pen: float = PEN) -> Image.Image:
    """Draws strokes, centred and scaled to the average size of Omniglot's drawings.

    Strokes are of points (x, y), y downwards, in any one unit whose range is about 1; one point is
    a dot. The picture is 105 pixels a side: ink 0 on paper 255, without shades, as in the archives.

    Args:
        strokes: one or more.
        pen: width, in pixels of 105.
    """
    points = [point for stroke in strokes for point in stroke]
    if not points:
        raise DataError("a drawing without a stroke: expected at least one point")
    side, width = RAW_SIZE * OVERSAMPLING, pen * OVERSAMPLING
    lowest, highest = np.min(points, axis=0), np.max(points, axis=0)
    scale = side * (LONGER_SIDE - pen / RAW_SIZE) / max(*(highest - lowest), SMALLEST)
    image = Image.new("L", (side, side), PAPER)
    canvas = ImageDraw.Draw(image)
    for stroke in strokes:
        path = (np.array(stroke) - (lowest + highest) / 2) * scale + side / 2
        if len(path) > 1:
            canvas.line(path.ravel().tolist(), fill=0, width=round(width))
        for x, y in path.tolist():  # round ends and corners
            canvas.circle((x, y), width / 2, fill=0)
    small = image.resize((RAW_SIZE, RAW_SIZE), Image.Resampling.BOX)
    return small.point(lambda value: 0 if value < MIDDLE else PAPER)


def as_images(drawings: list[Strokes], image_size: int, ink: str) -> torch.Tensor:
    """Draws B drawings as the network's input; see `draw` and `to_images`."""
    return to_images([draw(strokes) for strokes in drawings], image_size, ink)
