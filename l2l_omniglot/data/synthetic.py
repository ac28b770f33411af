"""Draws invented handwritten characters, for the demo and for fast tests.

A character is a few curved strokes; a drawer writes it with a slant, size, pen and unsteady
hand of their own. Images are black ink on white paper, as Omniglot's are.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageDraw

from l2l_omniglot._util.kept import kept
from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.data.light import Pixels
from l2l_omniglot.data.sidecar import ClassInfo, Sidecar
from l2l_omniglot.data.stack import ImageStack, Ink
from l2l_omniglot.errors import DataError, check_number

Points: TypeAlias = npt.NDArray[np.float64]

CHARACTERS_AN_ALPHABET = 20
BACKGROUND_SHARE = 0.7
OVERSAMPLING = 3
POINTS_A_CURVE = 8
# Points are rounded to its inverse: processors differ in the last bits of a matrix product, and the
# end of a piece must be the same number as the start of the next, or Pillow joins them otherwise.
FINEST = 2.0**40
# How far hands differ, chosen so that raw pixels are a poor guide to the character.
JITTER, SLANT, ROTATION, STRETCH, SHIFT = 0.05, 0.22, 0.20, 0.14, 0.07


def synthetic_stack(
    classes: int = 400, drawers: int = 20, image_size: int = 28, seed: int = 0, ink: Ink = "white"
) -> ImageStack:
    """Draws a stack of invented characters; the same arguments give the same stack.

    Args:
        classes: number of characters, 10 or more; every 20 make an alphabet.
        drawers: images per character, 2 or more.
        image_size: pixels, 8 or more.
        seed: of the characters and the hands.
        ink: see `ImageStack`.

    Returns:
        A stack (classes, drawers, 1, image_size, image_size), uint8, with names such as
        ``background/Invented_03/character07``.

    Raises:
        DataError: if an argument is below its least value.
    """
    check_number("classes", classes, minimum=10, kind=DataError)
    check_number("drawers", drawers, minimum=2, kind=DataError)
    check_number("image_size", image_size, minimum=8, kind=DataError)
    array = _draw_all(classes, drawers, image_size, seed)
    sidecar = Sidecar(
        classes=tuple(_class_info(number, classes) for number in range(classes)),
        source=f"synthetic characters, seed {seed}",
        image_size=image_size,
        background="white",
        sha256=hashlib.sha256(array.tobytes()).hexdigest(),
    )
    return ImageStack(array, "auto", ink, sidecar, "synthetic")


@lru_cache(maxsize=2)
def _draw_all(classes: int, drawers: int, image_size: int, seed: int) -> Pixels:
    """Draws a stack's images, which takes seconds, or takes them from the cache folder."""
    shape = (classes, drawers, 1, image_size, image_size)
    sizes = "x".join(map(str, shape))
    program = Path(__file__).read_bytes()
    recipe = f"{sizes}, {seed}, numpy {np.__version__}, Pillow {PIL.__version__}\n".encode()
    draw = partial(_drawn, classes, drawers, image_size, seed)
    content = kept(f"synthetic-{sizes}", recipe + program, int(np.prod(shape)), draw)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _drawn(classes: int, drawers: int, image_size: int, seed: int) -> bytes:
    """Draws a stack's images, class after class, drawer after drawer."""
    images = []
    for number in range(classes):
        generator = np.random.default_rng(derive_seed("synthetic", seed, number))
        strokes = _invent_character(generator)
        for _ in range(drawers):
            images.append(_draw(_by_hand(strokes, generator), image_size, generator).tobytes())
    return b"".join(images)


def synthetic_strokes(classes: int, drawers: int, seed: int = 0) -> list[list[list[Points]]]:
    """Invents characters as pen paths, different from those of a stack.

    Returns for each character its drawings, each a list of strokes: smooth paths (P, 2) of (x, y),
    y downwards, mostly in the unit square.
    """
    characters = []
    for number in range(classes):
        generator = np.random.default_rng(derive_seed("synthetic strokes", seed, number))
        strokes = _invent_character(generator)
        drawings = [_by_hand(strokes, generator) for _ in range(drawers)]
        characters.append([[_curve(stroke) for stroke in drawing] for drawing in drawings])
    return characters


def _class_info(number: int, classes: int) -> ClassInfo:
    alphabets = -(-classes // CHARACTERS_AN_ALPHABET)
    alphabet, character = divmod(number, CHARACTERS_AN_ALPHABET)
    subset = "background" if alphabet < round(alphabets * BACKGROUND_SHARE) else "evaluation"
    names = subset, f"Invented_{alphabet + 1:02d}", f"character{character + 1:02d}"
    return ClassInfo("/".join(names), *names)


def _invent_character(generator: np.random.Generator) -> list[Points]:
    """Invents two or three strokes, each three or four control points (P, 2) in the unit square.

    More often than not a stroke begins where another passes, as in real scripts.
    """
    strokes: list[Points] = []
    for _ in range(generator.integers(2, 4)):
        points = generator.uniform(0.12, 0.88, size=(generator.integers(3, 5), 2))
        if strokes and generator.random() < 0.6:
            other = strokes[generator.integers(len(strokes))]
            points[0] = other[generator.integers(len(other))]
        strokes.append(points)
    return strokes


def _by_hand(strokes: list[Points], generator: np.random.Generator) -> list[Points]:
    """Varies strokes as a hand would: bent, slanted, rotated, stretched and shifted."""
    angle = generator.normal(0, ROTATION)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, generator.normal(0, SLANT)], [0, 1]])
    stretch = np.diag(np.clip(generator.normal(1, STRETCH, size=2), 0.6, 1.3))
    shift = generator.normal(0, SHIFT, size=2)
    written = []
    for stroke in strokes:
        bent = stroke + generator.normal(0, JITTER, size=stroke.shape)
        written.append((bent - 0.5) @ (rotation @ slant @ stretch).T + 0.5 + shift)
    return written


def _draw(strokes: list[Points], image_size: int, generator: np.random.Generator) -> Pixels:
    """Draws strokes with a pen of random width: uint8 (image_size, image_size), ink 0."""
    size = image_size * OVERSAMPLING
    width = max(1, round(size * generator.uniform(0.035, 0.075)))
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        pen.line((_curve(stroke) * size).ravel().tolist(), fill=0, width=width, joint="curve")
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BOX))


def _curve(points: Points) -> Points:
    """Lays a smooth path (P, 2) through control points: Catmull and Rom 1974, uniform."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, POINTS_A_CURVE)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        cubic = (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - 3 * c + d - a) * t**3
        )
        pieces.append(cubic / 2)
    rounded: Points = np.round(np.concatenate(pieces) * FINEST) / FINEST
    return rounded
