"""The page as a folder of files: the browser answers, and no server is needed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from l2l_omniglot._util.files import whole_folder
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.export import NEEDED, ONNX, export_embedding
from l2l_omniglot.data.frame import LONGER_SIDE, PEN, RAW_SIZE
from l2l_omniglot.data.strokes import OVERSAMPLING, SMALLEST
from l2l_omniglot.errors import SettingsError, need
from l2l_omniglot.experiments import certainty
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.page import page_settings
from l2l_omniglot.page.answers import Answers
from l2l_omniglot.page.examples import SYNTHETIC, synthetic_drawings
from l2l_omniglot.page.guard import HEADERS
from l2l_omniglot.page.question import SHOTS, WAYS
from l2l_omniglot.page.runtime import fetch_runtime, write_runtime

STATIC, ALONE = (Path(__file__).with_name(name) for name in ("static", "alone"))
EXAMPLES = 2 * WAYS[1]  # invented characters, of which example sets are drawn
CHARSET = '<meta charset="utf-8">\n'
# Beside the server's policy the network's WebAssembly; a page cannot say who may frame it.
POLICY = (
    HEADERS["Content-Security-Policy"]
    .replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
    .partition("; frame-ancestors")[0]
)


def write_folder(checkpoint: Checkpoint, name: str, folder: Path, steps: int | None = None) -> int:
    """Writes the page, its network and what runs it; all of the folder or nothing.

    Args:
        checkpoint: trained weights that compare with prototypes, see `check_weights`.
        name: of the network, shown on the page.
        folder: a new one, or an empty one.
        steps: see `Answers`; none are possible.

    Returns:
        The bytes of all its files.

    Raises:
        SettingsError: if the folder is not empty, the weights cannot be used this way, or a
            package of the extra ``export`` is not installed.
        BackboneError: if the network cannot be exported.
        DownloadError: if onnxruntime-web can be neither found nor downloaded.
    """
    check_folder(folder)
    for package in NEEDED[ONNX]:
        need(package, "the exported page", "export")
    check_weights(checkpoint, name, steps)
    runtime = fetch_runtime()  # first, as there may be no network
    settings = page_settings(Answers(checkpoint), name, [SYNTHETIC], uploads=0)
    with whole_folder(folder) as made:
        static = made / "static"
        shutil.copytree(STATIC, static)
        index = (static / "index.html").read_text("utf-8")
        (static / "index.html").unlink()
        (made / "index.html").write_text(_guarded(index), "utf-8")
        shutil.copytree(ALONE, static, dirs_exist_ok=True)
        _write_json(static / "settings.json", {**settings, "network": _network(checkpoint)})
        _write_json(static / "examples.json", synthetic_drawings(EXAMPLES, SHOTS[1] + 1, seed=0))
        export_embedding(_classifier(checkpoint), static / "network.onnx")
        write_runtime(runtime, made / "onnxruntime")
        return sum(path.stat().st_size for path in made.rglob("*") if path.is_file())


def check_folder(folder: Path) -> None:
    """Refuses a folder that has something in it already.

    Raises:
        SettingsError: if so.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise SettingsError(f"{folder}: is not empty; expected a new folder, or an empty one")


def check_weights(checkpoint: Checkpoint, name: str, steps: int | None = None) -> None:
    """Refuses weights that a browser cannot use: it computes the network's forward pass only.

    Raises:
        SettingsError: if they take steps, have another head than prototypes, or statistics of
            batch normalisation that depend on the examples.
    """
    settings = checkpoint.settings
    taken = settings.steps(steps)
    if taken or settings.head != "prototypes" or settings.statistics != "population":
        raise SettingsError(
            f"{name}: {taken} inner steps, head {settings.head!r}, statistics "
            f"{settings.statistics!r}: cannot be exported as a page; expected weights without "
            "steps, with head 'prototypes' and statistics 'population', such as resnet8"
        )


def _guarded(index: str) -> str:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    referrer = f'<meta name="referrer" content="{HEADERS["Referrer-Policy"]}">\n'
    return index.replace(CHARSET, CHARSET + policy + referrer)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), "utf-8")


def _classifier(checkpoint: Checkpoint) -> Classifier:
    """Adapts the network, which does not depend on the support set, to a black and a white one."""
    side = checkpoint.image_size
    assert isinstance(side, int)  # `Answers` has checked it
    images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, side, side)
    return Classifier(checkpoint, images, torch.tensor([0, 1]), 2)


def _network(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the constants by which the browser draws, embeds and compares."""
    known = checkpoint.certainty
    width = round(PEN * OVERSAMPLING)
    return {
        "side": checkpoint.image_size,
        "ink": checkpoint.settings.ink,
        "paper": {
            "raw": RAW_SIZE, "finer": OVERSAMPLING, "longer": LONGER_SIDE - PEN / RAW_SIZE,
            "smallest": SMALLEST, "width": width, "disc": _disc(width),
        },
        "head": {
            "scale": float(checkpoint.head["scale"]),
            "temperature": known.temperature if known else 1.0,
        },
        "certainty": known and {
            "ways": certainty.WAYS, "shots": certainty.SHOTS, **asdict(known),
        },
    }  # fmt: skip


def _disc(width: int) -> list[int]:
    """Returns how many pixels the rows of a circle have, as Pillow draws it."""
    image = Image.new("L", (width + 1, width + 1))
    ImageDraw.Draw(image).circle((width / 2, width / 2), width / 2, fill=1)
    rows: list[int] = np.asarray(image).sum(axis=1).tolist()
    return rows
