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
    """The runs as tasks: support is the training drawings, query the test drawings.

    Args:
        path: a folder with ``runNN`` folders, or an archive of them.
        image_size: pixels, as the network was trained with.
        ink: see `ImageStack`.

    Attributes:
        names: of the runs found, sorted.
        ways, shots, queries: 20, 1, and 1 query a class.

    Raises:
        DataError: if there are fewer than two runs, or one is broken; says which and how.
    """

    seed = 0
    name = "one-shot-runs"
    ways, shots, queries = WAYS, 1, 1

    def __init__(self, path: str | Path, image_size: int = 28, ink: Ink = "white") -> None:
        with ExitStack() as stack:
            runs: dict[str, dict[str, Read]] = {}
            for file, read in list_files(Path(path), stack):
                match = _FILE.search(file)
                if not match:
                    continue
                run = runs.setdefault(match["run"], {})
                if match["name"] in run:
                    raise DataError(f"{path}: {match['run']}/{match['name']} is there twice")
                run[match["name"]] = read
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
        """Returns run `number`, from 0, in the order of the names."""
        return self._tasks[number]

    def batch(self, start: int, count: int) -> Iterator[Task]:
        """Runs `start` to `start + count - 1`."""
        return iter(self._tasks[start : start + count])


def _read_run(what: str, files: dict[str, Read], image_size: int, ink: Ink) -> Task:
    """Reads a run as a task; label i is ``training/class(i + 1).png``."""
    classes = [f"training/class{number:02d}.png" for number in range(1, WAYS + 1)]
    answers = _read_answers(what, files)
    wrong = [name for name in (*classes, *answers) if name not in files]
    wrong += [name for name in answers.values() if name not in classes]
    if wrong or len(answers) != WAYS:
        about = f"{wrong[0]} is not there" if wrong else f"{len(answers)} test items"
        raise DataError(f"{what}: {about}; expected {WAYS} training and {WAYS} test drawings")
    images = []
    for name in (*classes, *answers):
        try:
            images.append(decode(files[name](), image_size))
        except Exception as error:  # Pillow, zlib and zipfile raise many kinds
            raise DataError(f"{what}/{name}: {error}") from error
    drawings = ImageStack(np.stack(images)[None, :, None], "white", ink, name=what)
    pixels = drawings.images(np.zeros(2 * WAYS, dtype=np.int64), np.arange(2 * WAYS))
    labels = torch.tensor([classes.index(name) for name in answers.values()])
    support, query = pixels.split(WAYS)
    return Task(support, torch.arange(WAYS), query, labels, tuple(range(WAYS)))


def _read_answers(what: str, files: dict[str, Read]) -> dict[str, str]:
    """Maps every test item to the training drawing of its class, by ``class_labels.txt``."""
    if "class_labels.txt" not in files:
        raise DataError(f"{what}: class_labels.txt is not there")
    try:
        lines = files["class_labels.txt"]().decode("utf-8").splitlines()
    except Exception as error:  # zlib and zipfile raise many kinds
        raise DataError(f"{what}/class_labels.txt: {error}") from error
    pairs = [line.split() for line in lines if line.strip()]
    if not all(len(pair) == 2 for pair in pairs):
        raise DataError(f"{what}/class_labels.txt: expected two file names a line")
    return {_inside(item): _inside(answer) for item, answer in pairs}


def _inside(name: str) -> str:
    """Takes the run off ``run01/test/item01.png``."""
    return name.split("/", 1)[-1]
