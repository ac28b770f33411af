"""Writes small sets of real pictures as folders of classes: python -m tools.own_sets SET FOLDER.

- ``digits``: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, 10 classes.
- ``letters``: Latin, Greek and Cyrillic letters in the fonts that matplotlib carries, by alphabet.
- ``emoji``: what the vendors' packages ``emoji-datasource-...`` of npm draw for the same emoji, by
  category; `--packages` names the folders that ``npm pack`` and ``tar`` made of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

DARKEST = 16  # value of ink in scikit-learn's digits
SIDE, SIZE = 64, 44  # pixels of a letter's picture, and of its font
ALPHABETS = {
    "Latin": [*map(chr, range(0x41, 0x5B)), *map(chr, range(0x61, 0x7B))],
    "Greek": [chr(c) for c in range(0x391, 0x3CA) if c not in (0x3A2, *range(0x3AA, 0x3B1))],
    "Cyrillic": [*map(chr, range(0x410, 0x450))],
}
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
FEWEST = 3  # vendors that draw an emoji


def digits(folder: Path, _packages: Sequence[Path]) -> None:
    """Writes ink dark on white, as on paper."""
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        grey = (255 - 255 / DARKEST * image).round().astype(np.uint8)
        _save(Image.fromarray(grey), folder / str(label) / f"{number}.png")


def letters(folder: Path, _packages: Sequence[Path]) -> None:
    """Draws each letter in the middle, in every font of four families."""
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for file in sorted(path for path in fonts.glob("*.ttf") if path.stem.startswith(FONTS)):
        font = ImageFont.truetype(file, SIZE)
        for alphabet, characters in ALPHABETS.items():
            for character in characters:
                picture = Image.new("L", (SIDE, SIDE), "white")
                middle = (SIDE / 2, SIDE / 2)
                ImageDraw.Draw(picture).text(middle, character, "black", font, anchor="mm")
                name = f"{ord(character):04x}"
                if picture.getextrema() != (255, 255):
                    _save(picture, folder / alphabet / name / f"{file.stem}.png")


def emoji(folder: Path, packages: Sequence[Path]) -> None:
    """Copies the pictures that several vendors have of the same emoji."""
    drawn: dict[str, list[Path]] = defaultdict(list)
    for package in packages:
        for file in package.glob("img/*/64/*.png"):
            drawn[file.name].append(file)
    for entry in json.loads((packages[0] / "emoji.json").read_text()):
        files = drawn[entry["image"]]
        if len(files) < FEWEST:
            continue
        name = Path(entry["image"]).stem
        for file in files:
            target = folder / entry["category"] / name / f"{file.parents[1].name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


SETS: dict[str, Callable[[Path, Sequence[Path]], None]] = {
    "digits": digits,
    "letters": letters,
    "emoji": emoji,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("folder", type=Path, help="to write the classes into")
    parser.add_argument("--packages", nargs="+", type=Path, default=[], help="of emoji")
    given = parser.parse_args(arguments)
    SETS[given.set](given.folder, given.packages)


if __name__ == "__main__":
    main()
