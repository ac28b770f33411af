"""The script beside an exported file: it prepares pictures as here, and classifies them.

It is made of the sources of `data.pictures` and of what it reads files and finds drawings with, so
that there is one preparation, and needs this package no more than the exported file does.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from l2l_omniglot import data
from l2l_omniglot._util import reading
from l2l_omniglot._util.files import write_text
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data import drawing, frame, ink, light, pictures, plain, ruled, sheet
from l2l_omniglot.errors import SettingsError

MARK = "# Written by l2l-omniglot export."
ABOVE = "l2l_omniglot", "__future__"  # what comes from there stands in START already
SOURCES = reading, data, light, sheet, ruled, ink, frame, drawing, plain, pictures
LEFT_OUT = {"to_images"}  # the script has no use for it

START = '''"""Classifies pictures: python {script} PICTURE ...

Or, in Python: from {module} import image, classify. Needs NumPy and Pillow, {runner};
for drawings SciPy, and for photographs and pictures that are redrawn scikit-image.
"""
{mark}

from __future__ import annotations

import importlib


class DataError(ValueError):
    """A picture that cannot be used."""


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{{name}} {{value!r}}: expected one of {{', '.join(choices)}}")


def need(package, what, extra):
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise DataError(f"{{what}} needs scikit-image: pip install scikit-image") from error


'''
END = '''

FILE = Path(__file__).with_name({file!r})
PREPARATION = {preparation!r}
PICTURE_INK = {ink!r}


def image(path):
    """Turns a picture's file into the network's image: float32 (channels, size, size)."""
    how = PREPARATION
    picture = read_picture(Path(path), PICTURE_INK, how["kind"]).prepared(how["redraw"])
    picture = picture.convert("RGB" if how["channels"] == 3 else "L")
    pixels = np.atleast_3d(shrink(picture, how["size"])).transpose(2, 0, 1)
    pixels = np.ascontiguousarray(pixels, dtype=np.float32) * np.float32(1 / 255)
    return 1 - pixels if how["ink"] == "white" else pixels


{classify}

def main():
    """Prints the class of each picture; returns True if one could not be used."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(description="Prints the class of each picture.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE")
    images, failed = {{}}, False
    for path in parser.parse_args().pictures:
        try:
            images[path] = image(path)
        except DataError as error:
            print(f"Error: {{error}}", file=sys.stderr)
            failed = True
    if not FILE.is_file():
        raise SystemExit(f"Error: {{FILE}}: no such file; expected the exported one beside this")
    names, rows = classify([*images.values()]) if images else ([], [])
    for path, row in zip(images, rows):
        print(f"{{path}}  {{names[row.argmax()]}}  {{row.max():.4f}}")
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
'''
ONNX = '''def classify(images):
    """Returns the classes' names, and the network's outputs (B, ways) for B images."""
    import json

    import onnxruntime

    session = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["l2l_omniglot"])
    return about["classes"], session.run(None, {"images": np.stack(images)})[0]
'''
TORCH = '''def classify(images):
    """Returns the classes' names, and the network's outputs (B, ways) for B images."""
    import json

    import torch

    extra = {"l2l_omniglot": ""}
    network = torch.export.load(FILE, extra_files=extra).module()
    outputs = network(torch.from_numpy(np.stack(images))).detach().numpy()
    return json.loads(extra["l2l_omniglot"])["classes"], outputs
'''
RUNNERS = {".onnx": ("and onnxruntime", ONNX), ".pt2": ("and PyTorch", TORCH)}


def companion_path(exported: Path) -> Path:
    """Returns where the script beside an exported file belongs: letters.onnx, letters_pictures.py.

    Raises:
        SettingsError: if another file has that name.
    """
    path = exported.with_name(f"{exported.stem}_pictures.py")
    if path.is_dir() or (path.exists() and MARK not in path.read_text(errors="replace")):
        raise SettingsError(
            f"{path}: would be replaced by the script that prepares pictures for {exported.name}, "
            "but something else has that name; move it, or give another --out"
        )
    return path


def write_companion(exported: Path, preparation: Preparation, picture_ink: str) -> Path:
    """Writes the script beside an exported file; returns its path.

    Args:
        exported: ``.onnx`` or ``.pt2``.
        preparation: of the support pictures.
        picture_ink: of the pictures: ``dark``, ``light`` or ``auto``.
    """
    path = companion_path(exported)
    runner, classify = RUNNERS[exported.suffix]
    start = START.format(script=path.name, module=path.stem, runner=runner, mark=MARK)
    how = asdict(preparation)
    end = END.format(file=exported.name, preparation=how, ink=picture_ink, classify=classify)
    body = "\n".join("".join(_own_lines(module)) for module in SOURCES)
    write_text(path, start + body + end)
    return path


def _own_lines(module: ModuleType) -> Iterator[str]:
    """Yields a module's lines without its docstring, imports from the package and unused names."""
    source = inspect.getsource(module)
    dropped: set[int] = set()
    for node in ast.parse(source).body:
        docstring = isinstance(node, ast.Expr)
        above = isinstance(node, ast.ImportFrom) and f"{node.module}".startswith(ABOVE)
        checks = isinstance(node, ast.If)  # for type checkers
        unused = isinstance(node, ast.FunctionDef) and node.name in LEFT_OUT
        if docstring or above or checks or unused:
            dropped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    yield from (
        line
        for number, line in enumerate(source.splitlines(keepends=True), 1)
        if number not in dropped
    )
