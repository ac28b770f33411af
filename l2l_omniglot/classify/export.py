"""Export of an adapted classifier to a file other programs can run: ONNX or torch.export."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l2l_omniglot._util.files import folder_beside
from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.backbones.batch_norm import fold_statistics, forward_by, replace_layers
from l2l_omniglot.backbones.heads import embed, head_name
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.data import DRAWINGS
from l2l_omniglot.errors import BackboneError, SettingsError, check_choice, expected_name, need

ONNX, PT2 = ".onnx", ".pt2"
OUTPUTS = ("probabilities", "logits")
NEEDED = {ONNX: ("onnx", "onnxscript", "onnxruntime"), PT2: ()}  # extra ``export``
FORMAT, EMBEDDING = "l2l-omniglot classifier 1", "l2l-omniglot embedding 1"
METADATA = "l2l_omniglot"  # the key, or the name of the file within the archive
INPUT = "images"
LARGEST = 1e-4  # difference allowed from the classifier
BATCHES = (1, 2, 7, 32)  # sizes of the batches of random images for the comparison

Runner = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Exported:
    """A file that was written and compared with the classifier.

    Attributes:
        path: of the file.
        metadata: as stored in the file.
        difference: the largest absolute one between outputs of the file and of the classifier.
        images: number of images compared, random ones and the support set's.
    """

    path: Path
    metadata: dict[str, Any]
    difference: float
    images: int


def export_classifier(
    classifier: Classifier,
    path: str | Path,
    class_names: Sequence[str],
    *,
    ink: str,
    redraw: str = "auto",
    pictures: str = DRAWINGS,
    output: str = "probabilities",
    step: int = -1,
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Writes an adapted network that normalises by the support set's statistics.

    It is an ordinary network in evaluation mode, from float32 ``images`` (B, channels, H,
    W) in [0, 1], for any B of 1 or more, to float32 (B, ways). The file
    replaces an older one of its name only after it was compared with the classifier.

    Args:
        classifier: inductive.
        path: ``.onnx`` (needs the extra ``export``), or ``.pt2`` for `torch.export.load`.
        class_names: names of the outputs, in the order of the labels.
        ink: of the images, for the metadata: ``white`` is 1, ``black`` is 0.
        redraw: for the metadata: how pictures are to be prepared, see
            `l2l_omniglot.data.drawing.Drawing.prepared` (the script beside the file does that).
        pictures: for the metadata: what is seen of them, see `l2l_omniglot.data.KINDS`.
        output: ``probabilities`` or ``logits``.
        step: which network, after 0 to K gradient steps; the last by default.
        about: plain values to store in the metadata, too.

    Raises:
        SettingsError: if the file's ending, names or output are wrong, the classifier is
            transductive, or a package for the format is not installed.
        BackboneError: if the network cannot be exported, or the file's outputs differ.
    """
    path = Path(path)
    check_export(path)
    _check(classifier, class_names, output)
    network = copy.deepcopy(classifier.network(step)).cpu().float().eval()
    support = classifier.support.cpu().float()
    moments = {name: tensor.to(support) for name, tensor in classifier.moments(step).items()}
    folded = fold_statistics(network, moments, support)
    metadata = {
        **(about or {}), "format": FORMAT, "classes": list(class_names), "output": output,
        "channels": support.shape[1], "height": support.shape[2], "width": support.shape[3],
        "ink": ink, "redraw": redraw, "pictures": pictures,
    }  # fmt: skip
    batches = _batches(support)
    softmax = nn.Softmax(dim=1) if output == "probabilities" else nn.Identity()
    last = nn.Sequential(Cooler(classifier.temperature), softmax)

    def expected(batch: torch.Tensor) -> torch.Tensor:
        return last(forward_by(network, moments, batch))  # type: ignore[no-any-return]

    return _exported(nn.Sequential(folded, last), expected, batches, metadata, path)


def export_embedding(classifier: Classifier, path: str | Path) -> Exported:
    """Writes the network without its head, from ``images`` to embeddings (B, features).

    Args:
        classifier: inductive, with the population's statistics, so that its support set is of no
            consequence.
        path: see `export_classifier`.

    Raises:
        SettingsError: see `check_export`.
        BackboneError: see `export_classifier`.
    """
    path = Path(path)
    check_export(path)
    network = copy.deepcopy(classifier.network()).cpu().float().eval()
    support = classifier.support.cpu().float()
    moments = {name: tensor.to(support) for name, tensor in classifier.moments().items()}
    head = head_name(network)
    folded = replace_layers(
        fold_statistics(network, moments, support),
        lambda name, _layer: nn.Flatten() if name == head else None,
    )
    metadata = {"format": EMBEDDING}
    batches = _batches(support)
    return _exported(folded, lambda batch: embed(network, batch, moments), batches, metadata, path)


def _exported(
    network: nn.Module,
    expected: Runner,
    batches: Sequence[torch.Tensor],
    metadata: dict[str, Any],
    path: Path,
) -> Exported:
    """Writes the file, and keeps it if it computes what is expected of the batches."""
    with folder_beside(path) as folder:
        file = folder / path.name
        _write(network, batches[0], metadata, file)
        run, _ = load_exported(file)
        with torch.no_grad():
            pairs = [(run(batch), expected(batch)) for batch in batches]
        difference = _difference(pairs)
        file.replace(path)
    return Exported(path, metadata, difference, sum(len(batch) for batch in batches))


class Cooler(nn.Module):
    """Divides logits (B, ways) by a temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns calibrated logits."""
        return logits / self.temperature


def _batches(support: torch.Tensor) -> list[torch.Tensor]:
    """Returns images to compare on: the support set, and random ones."""
    generator = torch.Generator().manual_seed(derive_seed("export"))
    sizes = [(count, *support.shape[1:]) for count in BATCHES]
    return [support, *(torch.rand(size, generator=generator) for size in sizes)]


def check_export(path: Path) -> None:
    """Checks that a file can be written, before anything is adapted.

    Raises:
        SettingsError: if its ending is unknown, or a package for it is not installed.
    """
    if path.suffix not in NEEDED:
        expected = expected_name(path.suffix, NEEDED)
        raise SettingsError(f"{path}: the ending {path.suffix!r}: {expected}")
    for package in NEEDED[path.suffix]:
        need(package, str(path), "export")


def _check(classifier: Classifier, class_names: Sequence[str], output: str) -> None:
    check_choice("output", output, OUTPUTS)
    if len(set(class_names)) != classifier.ways or len(class_names) != classifier.ways:
        raise SettingsError(
            f"class names {', '.join(class_names)}: expected {classifier.ways} different ones"
        )
    if classifier.batch_norm != "inductive":
        raise SettingsError(
            f"a {classifier.batch_norm} classifier cannot be exported: its prediction for an "
            "image depends on the others; expected an inductive one"
        )


def _write(network: nn.Module, example: torch.Tensor, metadata: dict[str, Any], path: Path) -> None:
    """Writes the file; the example, (B, channels, H, W), has two images or more."""
    text = json.dumps(metadata)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # about torch's internals
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            program = torch.export.export(network.eval(), (example,), dynamic_shapes=shapes)
            if path.suffix == PT2:
                torch.export.save(program, path, extra_files={METADATA: text})
            else:
                onnx_program = torch.onnx.export(
                    program, (), dynamo=True, verbose=False, input_names=[INPUT],
                    output_names=["output"], dynamic_shapes=({0: "batch"},),
                )  # fmt: skip
                assert onnx_program is not None
                onnx_program.model.metadata_props[METADATA] = text
                onnx_program.save(path, external_data=False)
    except Exception as error:  # the exporters raise many kinds
        first = next(iter(str(error).strip().splitlines()), "")
        raise BackboneError(
            f"the network cannot be exported: {type(error).__name__}: {first}"
        ) from error


def load_exported(path: str | Path) -> tuple[Runner, dict[str, Any]]:
    """Reads an exported file.

    Args:
        path: ``.onnx`` or ``.pt2``.

    Returns:
        A function from float32 images (B, channels, H, W) to outputs (B, ways), on the CPU,
        and the metadata.

    Raises:
        SettingsError: see `check_export`.
    """
    path = Path(path)
    check_export(path)
    if path.suffix == PT2:
        extra = {METADATA: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.export.load(path, extra_files=extra).module()
        return module, json.loads(extra[METADATA])
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0]), metadata


def _difference(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Returns the largest difference between found and expected outputs, if it is small enough."""
    difference = max(float((one - other).abs().max()) for one, other in pairs)
    shapes = all(one.shape == other.shape for one, other in pairs)
    if not (shapes and difference <= LARGEST):  # NaN is not
        raise BackboneError(
            f"the exported network differs from the classifier by up to {difference:.3g}; expected "
            f"at most {LARGEST:g}, so the file was not kept"
        )
    return difference
