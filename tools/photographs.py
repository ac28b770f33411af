"""Draws characters as people photograph them: python -m tools.photographs FOLDER.

Invented characters, written by a program and degraded as a phone's pictures are: on paper that lies
on a table, askew, half in shade, blurred, in chalk, by pens of all kinds. The characters of the
development half, for choosing how pictures are prepared, are not those of the test half, for
measuring it.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from skimage.transform import ProjectiveTransform, warp

from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.drawing import find_drawing
from l2l_omniglot.data.strokes import Strokes, draw
from l2l_omniglot.data.synthetic import Points, synthetic_strokes
from l2l_omniglot.reports.prediction_sheet import padded

Scene: TypeAlias = npt.NDArray[np.float64]  # (H, W, 3) in [0, 1]
Random: TypeAlias = np.random.Generator
Drawing: TypeAlias = list[Points]

WIDTH, HEIGHT = 800, 600
UNSTEADY = 0.7  # as far as the hands of `synthetic_strokes` differ is 1
HALVES = {"development": 1, "test": 2}  # with the seeds of their characters
INK = (0.08, 0.08, 0.1)
PENS = ((0.1, 0.2, 0.65), (0.75, 0.1, 0.12), (0.08, 0.45, 0.2), (0.4, 0.4, 0.42), (0.45, 0.1, 0.5))
BOARDS = ((0.1, 0.25, 0.18), (0.12, 0.13, 0.14), (0.2, 0.2, 0.24))
TABLES = ((0.25, 0.17, 0.11), (0.12, 0.12, 0.13), (0.35, 0.24, 0.16), (0.2, 0.24, 0.3),
          (0.5, 0.38, 0.26))  # fmt: skip
THINGS = ((0.75, 0.72, 0.7), (0.1, 0.1, 0.12), (0.7, 0.2, 0.15), (0.15, 0.3, 0.6))
# Widths of pens, as shares of the drawing's longer side: hair lines, most pens, markers.
HAIR, PEN, MARKER = (0.012, 0.022), (0.025, 0.06), (0.07, 0.12)
LINES = ((0.55, 0.68, 0.85), (0.75, 0.62, 0.65), (0.6, 0.6, 0.62))
STEPS, TILE, GAP, LINE, MARGIN = (
    ("taken", "sheet", "ink", "seen"),
    112,
    8,
    20,
    60,
)  # of the overview
PEN_WIDTHS = 0.8, 1.7, 2.1, 2.6, 3.1, 4.2, 5.8, 7.9, 10.5  # pixels of 105


def drawings(half: str, characters: int, each: int) -> list[list[Drawing]]:
    """Returns drawings of invented characters: by character, each a list of strokes (P, 2)."""
    strokes = synthetic_strokes(characters, each, HALVES[half])
    return [[_steadier(drawing, few[0]) for drawing in few] for few in strokes]


def _steadier(drawing: Drawing, first: Drawing) -> Drawing:
    """Brings a drawing closer to the first of its character: a person's hand varies less."""
    pairs = zip(drawing, first, strict=True)
    return [model + UNSTEADY * (stroke - model) for stroke, model in pairs]


def photograph(kind: str, drawing: Drawing, seed: int) -> Image.Image:
    """Takes a photograph of a drawing.

    Args:
        kind: one of `KINDS`.
        drawing: strokes (P, 2) of (x, y), y downwards, about in the unit square.
        seed: of everything that differs from one photograph to the next.
    """
    return KINDS[kind](drawing, np.random.default_rng(derive_seed("photograph", kind, seed)))


def tidy(drawing: Drawing, random: Random) -> Image.Image:
    """A clean drawing as Omniglot's are, of any size from 80 to 200 pixels."""
    side = int(random.integers(80, 201))
    return draw(_points(drawing)).resize((side, side), Image.Resampling.BICUBIC)


def small(drawing: Drawing, random: Random) -> Image.Image:
    """A small character somewhere on a page that fills the picture."""
    return _shot(_write(_paper(random), drawing, random, (0.12, 0.25)), random)


def with_pen(width: float, drawing: Drawing) -> Image.Image:
    """Draws a clean drawing as Omniglot's are, with a pen of so many pixels of 105."""
    return draw(_points(drawing), width)


def _points(drawing: Drawing) -> Strokes:
    return tuple(tuple((float(x), float(y)) for x, y in stroke) for stroke in drawing)


def table(drawing: Drawing, random: Random) -> Image.Image:
    """A sheet of paper on a dark table."""
    sheet = _write(_paper(random), drawing, random, (0.35, 0.6))
    return _shot(_lay(sheet, _wood(random), random), random)


def things(drawing: Drawing, random: Random) -> Image.Image:
    """A sheet of paper among other things on a table; one of them may lie on its edge."""
    sheet = _write(_paper(random), drawing, random, (0.35, 0.55))
    below = _wood(random)
    for _ in range(int(random.integers(1, 4))):
        below = _put(below, random, THINGS[random.integers(len(THINGS))])
    return _shot(_lay(sheet, below, random), random)


def perspective(drawing: Drawing, random: Random) -> Image.Image:
    """A page seen at an angle; it fills the picture."""
    return _shot(_askew(_write(_paper(random), drawing, random, (0.3, 0.5)), random), random)


def shade(drawing: Drawing, random: Random) -> Image.Image:
    """A page half in the shadow of a hand or a phone."""
    page = _write(_paper(random), drawing, random, (0.35, 0.6))
    return _shot(page * _shadow(random), random)


def blur(drawing: Drawing, random: Random) -> Image.Image:
    """A page out of focus."""
    page = _write(_paper(random), drawing, random, (0.35, 0.6))
    return _shot(page, random, blur=float(random.uniform(3, 6)))


def jpeg(drawing: Drawing, random: Random) -> Image.Image:
    """A page, compressed until it shows."""
    page = _write(_paper(random), drawing, random, (0.35, 0.6))
    return _shot(page, random, quality=int(random.integers(6, 16)))


def chalk(drawing: Drawing, random: Random) -> Image.Image:
    """Chalk on a board that was wiped badly."""
    mask = _ink(drawing, random, (0.35, 0.6), (0.025, 0.06))
    dust = 0.65 + 0.35 * random.random((HEIGHT, WIDTH))
    return _shot(_cover(_board(random), mask * dust, (0.9, 0.9, 0.86)), random)


def _board(random: Random) -> Scene:
    smudges = _clouds(random, 40)[..., None] * random.uniform(0.05, 0.15)
    return _sheet(BOARDS[random.integers(len(BOARDS))], random) + smudges


def pens(drawing: Drawing, random: Random) -> Image.Image:
    """Coloured pens and pencils, from hair lines to markers."""
    return _shot(_write(_paper(random), drawing, random, (0.35, 0.6), *_any_pen(random)), random)


def ruled(drawing: Drawing, random: Random) -> Image.Image:
    """Ruled paper."""
    return _shot(_write(_lines(_paper(random), random), drawing, random, (0.35, 0.6)), random)


def squared(drawing: Drawing, random: Random) -> Image.Image:
    """Squared paper."""
    page = _lines(_paper(random), random, both=True)
    return _shot(_write(page, drawing, random, (0.35, 0.6)), random)


def phone(drawing: Drawing, random: Random) -> Image.Image:
    """All of it, mildly: any pen, any paper, on a table, half in shade, a little out of focus."""
    page = _paper(random)
    if random.random() < 0.5:
        page = _lines(page, random, both=random.random() < 0.5)
    lit = _write(page, drawing, random, (0.35, 0.55), *_any_pen(random))
    lit = _lay(lit, _wood(random), random) if random.random() < 0.6 else _askew(lit, random)
    shaded = lit * _shadow(random) if random.random() < 0.5 else lit
    blurred, quality = float(random.uniform(0.6, 2.0)), int(random.integers(30, 80))
    return _shot(shaded, random, blur=blurred, quality=quality)


KINDS: dict[str, Callable[[Drawing, Random], Image.Image]] = {
    "tidy": tidy, "small": small, "table": table, "things": things, "perspective": perspective,
    "shade": shade, "blur": blur, "jpeg": jpeg, "chalk": chalk, "pens": pens, "ruled": ruled,
    "squared": squared, "phone": phone,
}  # fmt: skip


def nothing(kind: str, seed: int) -> Image.Image:
    """Takes a photograph without any drawing.

    Args:
        kind: one of `NOTHINGS`.
        seed: of everything that differs from one photograph to the next.
    """
    return NOTHINGS[kind](np.random.default_rng(derive_seed("nothing", kind, seed)))


def solid_square(random: Random) -> Image.Image:
    """A solid black square on white."""
    picture, side = Image.new("L", (105, 105), 255), int(random.integers(30, 90))
    left, upper = random.integers(0, 105 - side, 2).tolist()
    picture.paste(0, (left, upper, left + side, upper + side))
    return picture


def noise(random: Random) -> Image.Image:
    """Noise, of grey or of black and white pixels."""
    grey = random.random((105, 105))
    values = grey if random.random() < 0.5 else grey < random.uniform(0.1, 0.6)
    return Image.fromarray((values * 255).astype(np.uint8))


def empty_board(random: Random) -> Image.Image:
    """A board without chalk, wiped badly."""
    return _shot(_board(random), random)


def bare_table(random: Random) -> Image.Image:
    """A table top on which nothing lies."""
    return _shot(_wood(random), random)


NOTHINGS: dict[str, Callable[[Random], Image.Image]] = {
    "solid square": solid_square, "noise": noise, "empty board": empty_board,
    "bare table": bare_table,
}  # fmt: skip


def _paper(random: Random) -> Scene:
    """A page, unevenly lit: white, cream or grey."""
    tint = random.uniform(0.72, 0.95) * np.array([1.0, 1.0, random.uniform(0.86, 1.0)])
    return _sheet(tint, random)


def _sheet(colour: npt.ArrayLike, random: Random) -> Scene:
    """An even surface, in light that falls off to one side."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    angle, fall = random.uniform(0, 2 * np.pi), random.uniform(0.02, 0.15)
    light = 1 - fall + fall * (x * np.cos(angle) + y * np.sin(angle))
    surface: Scene = np.asarray(colour) * light[..., None]
    return surface


def _clouds(random: Random, size: float) -> Scene:
    """Smooth noise in [0, 1] with details of about this many pixels: (HEIGHT, WIDTH)."""
    small = random.random((max(2, int(HEIGHT / size)), max(2, int(WIDTH / size)))) * 255
    picture = Image.fromarray(small.astype(np.uint8))
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) / 255


def _wood(random: Random) -> Scene:
    """A dark table top with a grain."""
    grain = 0.85 + 0.3 * np.asarray(
        Image.fromarray((random.random((60, 6)) * 255).astype(np.uint8)).resize((WIDTH, HEIGHT))
    )[..., None] / 255  # fmt: skip
    return _sheet(TABLES[random.integers(len(TABLES))], random) * grain


def _shadow(random: Random) -> Scene:
    """Shade over a part of the picture, with a soft edge: (HEIGHT, WIDTH, 1) in [0, 1]."""
    angle, soft = random.uniform(0, 2 * np.pi), random.uniform(8, 60)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    off = random.uniform(-150, 150)
    side = (x - WIDTH / 2) * np.cos(angle) + (y - HEIGHT / 2) * np.sin(angle) - off
    light: Scene = 1 - random.uniform(0.35, 0.6) / (1 + np.exp(-side / soft))
    return light[..., None]


def _lines(page: Scene, random: Random, both: bool = False) -> Scene:
    """Rules a page with lines, in one direction or two, a little aslant, pale or strong."""
    step, slant = random.uniform(28, 55), np.tan(np.radians(random.uniform(-4, 4)))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    width, strength = random.uniform(1.2, 2.4), random.uniform(0.5, 1.0)
    mask = _every(y + slant * x + random.uniform(0, step), step, width)
    if both:
        mask = np.maximum(mask, _every(x - slant * y + random.uniform(0, step), step, width))
    colour = np.array(LINES[random.integers(len(LINES))])
    return _cover(page, strength * mask, colour * page.mean() * 1.05)


def _every(along: Scene, step: float, width: float) -> Scene:
    """Masks lines of a width, one a step, with soft edges: [0, 1]."""
    off = np.abs((along + step / 2) % step - step / 2)
    mask: Scene = np.clip(width / 2 + 0.5 - off, 0, 1)
    return mask


def _cover(scene: Scene, mask: Scene, colour: npt.ArrayLike) -> Scene:
    return scene + mask[..., None] * (np.asarray(colour) - scene)


def _ink(
    drawing: Drawing, random: Random, sizes: tuple[float, float], widths: tuple[float, float]
) -> Scene:
    """The strokes of a drawing somewhere in the picture: (HEIGHT, WIDTH) in [0, 1]."""
    points = np.concatenate(drawing)
    low, high = points.min(axis=0), points.max(axis=0)
    size = random.uniform(*sizes) * HEIGHT
    scale = size / float((high - low).max())
    room = np.array([WIDTH, HEIGHT]) - (high - low) * scale
    place = room / 2 + room * random.uniform(-0.28, 0.28, 2)
    width = max(2, round(size * random.uniform(*widths)))
    picture = Image.new("L", (WIDTH, HEIGHT), 0)
    pen = ImageDraw.Draw(picture)
    for stroke in drawing:
        path = (stroke - low) * scale + place
        pen.line(path.ravel().tolist(), fill=255, width=width, joint="curve")
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))) / 255


def _write(
    page: Scene,
    drawing: Drawing,
    random: Random,
    sizes: tuple[float, float],
    pen: tuple[float, float, float] = INK,
    widths: tuple[float, float] = PEN,
) -> Scene:
    """Writes a drawing on a page; sizes are shares of the page's height."""
    mask = _ink(drawing, random, sizes, widths) * random.uniform(0.75, 1.0)
    return _cover(page, mask, pen)


def _any_pen(random: Random) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Chooses the colour of a pen, and the range of its width."""
    return (INK, *PENS)[random.integers(len(PENS) + 1)], (HAIR, PEN, MARKER)[random.integers(3)]


def _projection(start: Points, end: Points) -> Any:
    """Finds what takes four points to four others, by scikit-image 0.26, or 0.25 on Python 3.10."""
    if hasattr(ProjectiveTransform, "from_estimate"):
        return ProjectiveTransform.from_estimate(start, end)
    found = ProjectiveTransform()
    found.estimate(start, end)
    return found


def _askew(page: Scene, random: Random) -> Scene:
    """Looks at a page from one side, close enough that it fills the picture."""
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], dtype=float)
    inner = corners + (np.array([WIDTH, HEIGHT]) / 2 - corners) * random.uniform(0, 0.35, (4, 1))
    seen = _projection(corners, inner)
    return np.asarray(warp(page, seen, mode="edge"))


def _put(below: Scene, random: Random, colour: tuple[float, float, float]) -> Scene:
    """Puts a thing on a table: a box, turned anyhow."""
    angle, half = random.uniform(0, np.pi), random.uniform(30, 140, 2)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    x, y = x - random.uniform(0, WIDTH), y - random.uniform(0, HEIGHT)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mask = np.clip(half[0] - np.abs(along), 0, 1) * np.clip(half[1] - np.abs(across), 0, 1)
    return _cover(below, mask, np.array(colour) * random.uniform(0.8, 1.1))


def _lay(sheet: Scene, below: Scene, random: Random) -> Scene:
    """Lays a sheet on a table, somewhat turned and seen at an angle."""
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], dtype=float)
    angle, scale = random.uniform(-0.3, 0.3), random.uniform(0.55, 0.75)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([WIDTH, HEIGHT]) / 2
    placed = (corners - middle) @ turn.T + middle + random.uniform(-38, 38, 2)
    placed += random.uniform(-31, 31, (4, 2))
    back = _projection(placed, corners)
    mask = warp(np.ones((HEIGHT, WIDTH)), back)[..., None]
    return np.asarray(below + mask * (warp(sheet, back, mode="edge") - below))


def _shot(scene: Scene, random: Random, blur: float = 0.0, quality: int = 0) -> Image.Image:
    """Presses the button: exposure, focus, noise, JPEG."""
    lit = scene * random.uniform(0.8, 1.05) + random.normal(0, 0.012, scene.shape)
    picture = Image.fromarray((lit.clip(0, 1) * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(blur or random.uniform(0.4, 1.2)))
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality or int(random.integers(60, 93)))
    return Image.open(file)


def overview(half: str = "development") -> Image.Image:
    """Draws a photograph of each kind, its sheet, its ink, and what a network of 28 x 28 sees."""
    eye = Preparation(redraw="auto", size=28, channels=1, ink="white")
    pairs = [(few[0], kind) for few, kind in zip(drawings(half, len(KINDS), 1), KINDS, strict=True)]
    columns, rows = (len(pairs) + 1) // 2, len(STEPS)
    pitch = LINE + rows * (TILE + GAP) + GAP
    page = Image.new("RGB", (MARGIN + columns * (TILE + GAP), 2 * pitch), "white")
    pen = ImageDraw.Draw(page)
    for place, (strokes, kind) in enumerate(pairs):
        x, y = MARGIN + place % columns * (TILE + GAP), GAP + place // columns * pitch
        pen.text((x, y), kind, fill="black", font_size=15)
        taken = photograph(kind, strokes, seed(half, place, 0))
        for row, picture in enumerate(_steps(taken, eye)):
            page.paste(picture, (x, y + LINE + row * (TILE + GAP)))
            if place % columns == 0:
                pen.text((GAP, y + LINE + row * (TILE + GAP)), STEPS[row], "#555555", font_size=13)
    return page


def _steps(taken: Image.Image, eye: Preparation) -> list[Image.Image]:
    """Returns a photograph step by step, as tiles."""
    drawing = find_drawing(taken, "taken")
    pixels = (255 * (1 - eye.images([drawing])[0, 0])).byte().numpy()
    seen = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST)
    steps = [taken.convert("RGB"), drawing.picture, drawing.ink]
    return [*(padded(step, TILE) for step in steps), seen]


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write one sub-folder a kind to")
    parser.add_argument("--half", choices=list(HALVES), default="development")
    parser.add_argument("--characters", type=int, default=5)
    parser.add_argument("--each", type=int, default=3, help="photographs of each character")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    overview(options.half).save(options.folder / "overview.png")
    for number, character in enumerate(drawings(options.half, options.characters, options.each)):
        for item, drawing in enumerate(character):
            for kind in KINDS:
                path = options.folder / kind / f"character{number + 1:02d}" / f"{item + 1}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                photograph(kind, drawing, seed(options.half, number, item)).save(path)


def seed(half: str, character: int, item: int) -> int:
    """Returns the seed of a photograph."""
    return derive_seed("photographs", HALVES[half], character, item)


if __name__ == "__main__":
    main()
