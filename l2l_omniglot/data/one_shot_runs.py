"""The official one-shot classification test: 20 runs of 20 ways within one alphabet.

Lake, Salakhutdinov and Tenenbaum 2015; repository ``brendenlake/omniglot``, archive
``python/one-shot-classification/all_runs.zip``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from l2l_omniglot.data.omniglot import Read, decode, list_files
from l2l_omniglot.data.stack import ImageStack, Ink
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.errors import DataError

WAYS = 20
_FILE = re.compile(
    r"(?:^|/)(?P<run>run\d+)/(?P<name>training/class\d+\.png|test/item\d+\.png|class_labels\.txt)$"
)


class OneShotRuns:
    """The runs as tasks: their training drawings are the support set, their test drawings queries.

    Read from a folder with ``runNN`` folders or an archive of them, two or more.
    """

    seed = 0
    name = "one-shot-runs"
    ways, shots, queries = WAYS, 1, 1

    def __init__(self, path: str | Path, image_size: int = 28, ink: Ink = "white") -> None:
        with ExitStack() as stack:
            runs: dict[str, dict[str, Read]] = {}
            for file, read in list_files(Path(path), stack):
                if not (match := _FILE.search(file)):
                    continue
                run, name = runs.setdefault(match["run"], {}), match["name"]
                if name in run:
                    raise DataError(f"{path}: contains {match['run']}/{name} twice")
                run[name] = read
            if len(runs) < 2:
                raise DataError(
                    f"{path}: {len(runs)} one-shot runs found; expected at least 2 folders runNN "
                    "with training/classNN.png, test/itemNN.png and class_labels.txt"
                )
            self.names = tuple(sorted(runs))
            self._tasks = [
                _read_run(f"{path}: {name}", runs[name], image_size, ink) for name in self.names
            ]

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, number: int) -> Task:
        """Returns run `number`, counted from 0, in the order of the names."""
        return self._tasks[number]

    def batch(self, start: int, count: int) -> Iterator[Task]:
        """Returns runs `start` to `start + count - 1`."""
        return iter(self._tasks[start : start + count])


def _read_run(what: str, files: dict[str, Read], image_size: int, ink: Ink) -> Task:
    """Reads a run as a task; label i is ``training/class(i + 1).png``."""
    classes = [f"training/class{number:02d}.png" for number in range(1, WAYS + 1)]
    answers = _read_answers(what, files)
    wrong = [name for name in (*classes, *answers) if name not in files]
    wrong += [name for name in answers.values() if name not in classes]
    if wrong or len(answers) != WAYS:
        about = f"{wrong[0]} is missing" if wrong else f"{len(answers)} test items"
        raise DataError(f"{what}: {about}; expected {WAYS} training and {WAYS} test drawings")
    images = []
    for name in (*classes, *answers):
        try:
            images.append(decode(files[name](), image_size))
        except Exception as error:  # Pillow, zlib and zipfile raise many kinds
            raise DataError(f"{what}/{name}: {error}") from error
    drawings = ImageStack(np.stack(images)[None, :, None], "white", ink, name=what)
    support, query = drawings.images([0] * 2 * WAYS, range(2 * WAYS)).split(WAYS)
    labels = torch.tensor([classes.index(name) for name in answers.values()])
    return Task(support, torch.arange(WAYS), query, labels, tuple(range(WAYS)))


def _read_answers(what: str, files: dict[str, Read]) -> dict[str, str]:
    """Maps every test item to the training drawing of its class."""
    if "class_labels.txt" not in files:
        raise DataError(f"{what}: class_labels.txt is missing")
    try:
        lines = files["class_labels.txt"]().decode("utf-8").splitlines()
    except Exception as error:  # zlib and zipfile raise many kinds
        raise DataError(f"{what}/class_labels.txt: {error}") from error
    pairs = [line.split() for line in lines if line.strip()]
    if not all(len(pair) == 2 for pair in pairs):
        raise DataError(f"{what}/class_labels.txt: expected two file names per line")
    # Without the run: test/item01.png of run01/test/item01.png.
    return {item.split("/", 1)[-1]: answer.split("/", 1)[-1] for item, answer in pairs}
