"""Writes examples/pictures: five simple signs, drawn unevenly: two examples and four queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1] / "examples" / "pictures"
SIZE, WIDTH, SEED = 105, 3, 0
WOBBLE, TURN = 3.0, 0.12  # pixels a point is off; radians a drawing is turned, standard deviations
PARTS = {"support": range(2), "query": range(2, 6)}
# Strokes through these points, in pixels from the upper left corner.
SIGNS: dict[str, list[list[tuple[int, int]]]] = {
    "anchor": [[(52, 20), (52, 82)], [(25, 60), (36, 78), (52, 84), (68, 78), (80, 60)],
               [(36, 34), (68, 34)]],
    "comb": [[(22, 30), (82, 30)], [(26, 30), (26, 76)], [(52, 30), (52, 76)],
             [(78, 30), (78, 76)]],
    "flag": [[(30, 20), (30, 86)], [(30, 22), (78, 34), (30, 50)]],
    "house": [[(24, 52), (52, 22), (80, 52)], [(30, 48), (30, 84), (74, 84), (74, 48)]],
    "wave": [[(20, 48), (32, 36), (44, 48), (56, 60), (68, 48), (82, 36)],
             [(20, 70), (32, 58), (44, 70), (56, 82), (68, 70), (82, 58)]],
}  # fmt: skip


def main() -> None:
    """Runs the tool."""
    generator = np.random.default_rng(SEED)
    for name, strokes in SIGNS.items():
        for part, items in PARTS.items():
            folder = ROOT / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for item in items:
                picture = draw(strokes, generator)
                picture.convert("1").save(folder / f"{item}.png", optimize=True)


def draw(strokes: list[list[tuple[int, int]]], generator: np.random.Generator) -> Image.Image:
    """Makes one drawing: black on white, every point a little off, the whole a little turned."""
    angle = generator.normal(0, TURN)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    picture = Image.new("L", (SIZE, SIZE), 255)
    for stroke in strokes:
        points = np.array(stroke) + generator.normal(0, WOBBLE, (len(stroke), 2))
        placed = (points - SIZE / 2) @ turn.T + SIZE / 2
        line = [(float(x), float(y)) for x, y in placed]
        ImageDraw.Draw(picture).line(line, fill=0, width=WIDTH, joint="curve")
    return picture


if __name__ == "__main__":
    main()
