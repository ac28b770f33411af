"""An adapted classifier as a file that other programs run: ONNX, or torch.export's archive."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l2l_omniglot._util.rng import derive_seed
from l2l_omniglot.backbones.batch_norm import fold_support_statistics, with_support_statistics
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.errors import BackboneError, SettingsError, check_choice, expected_name, need

ONNX, PT2 = ".onnx", ".pt2"
OUTPUTS = ("probabilities", "logits")
NEEDED = {ONNX: ("onnx", "onnxscript", "onnxruntime"), PT2: ()}  # extra ``export``
FORMAT = "l2l-omniglot classifier 1"
METADATA = "l2l_omniglot"  # the key, or the name of the file within the archive
INPUT = "images"
LARGEST = 1e-4  # difference from the classifier
BATCHES = (1, 2, 7, 32)  # random images it is compared on

Runner = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Exported:
    """A file that was written and compared with the classifier.

    Attributes:
        path: of the file.
        metadata: as it stands in the file.
        difference: the largest between an output of the file and of the classifier, absolute.
        images: on how many of them, random ones and the support set's.
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
    fitted: bool = False,
    stretched: bool = False,
    output: str = "probabilities",
    step: int = -1,
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Writes an adapted network whose batch normalisation has the support set's statistics.

    It is then an ordinary network in evaluation mode, from float32 ``images`` (B, channels, H,
    W) in [0, 1], for any B of 1 or more, to float32 (B, ways). The file gets its name only
    after it was compared with the classifier; an older one of that name stays until then.

    Args:
        classifier: inductive.
        path: ``.onnx`` (needs the extra ``export``), or ``.pt2`` for `torch.export.load`.
        class_names: of the outputs, in the order of the labels.
        ink: what ink is in the images: ``white`` is 1, ``black`` is 0; for the metadata.
        fitted: whether the pictures went through `l2l_omniglot.data.pictures.centre_and_scale`.
        stretched: whether at least through `l2l_omniglot.data.pictures.stretch`; likewise.
        output: ``probabilities`` or ``logits``.
        step: of the networks after 0 to K gradient steps; the last by default.
        about: plain values to be kept in the metadata too.

    Raises:
        SettingsError: if the file's ending, names or output are wrong, the classifier is
            transductive, or what the format needs is not installed.
        BackboneError: if the network cannot be exported, or the file does not do the same.
    """
    path = Path(path)
    check_export(path)
    _check(classifier, class_names, output)
    # On the CPU throughout: that is where it is compared.
    network = copy.deepcopy(classifier.network(step)).cpu().eval()
    support = classifier.support.cpu()
    folded = fold_support_statistics(network, support)
    metadata = {
        **(about or {}), "format": FORMAT, "classes": list(class_names), "output": output,
        "channels": support.shape[1], "height": support.shape[2], "width": support.shape[3],
        "ink": ink, "fitted": fitted, "stretched": stretched,
    }  # fmt: skip
    batches = _batches(support)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        file = Path(folder) / path.name
        _write(_Outputs(folded, output), support, metadata, file)
        run, _ = load_exported(file)
        with torch.no_grad():
            original = _Outputs(_Inductive(network, support), output)
            pairs = [(run(batch), original(batch)) for batch in batches]
        difference = _difference(pairs)
        file.replace(path)
    return Exported(path, metadata, difference, sum(len(batch) for batch in batches))


def check_export(path: Path) -> None:
    """Refuses a file that could not be written, before anything is adapted.

    Raises:
        SettingsError: if its ending is unknown, or what it needs is not installed.
    """
    if path.suffix not in NEEDED:
        expected = expected_name(path.suffix, NEEDED)
        raise SettingsError(f"{path}: the ending {path.suffix!r}: {expected}")
    for package in NEEDED[path.suffix]:
        need(package, str(path), "export")
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}")


def _check(classifier: Classifier, class_names: Sequence[str], output: str) -> None:
    check_choice("output", output, OUTPUTS)
    if len(set(class_names)) != classifier.ways or len(class_names) != classifier.ways:
        raise SettingsError(
            f"class names {', '.join(class_names)}: expected {classifier.ways} different ones"
        )
    if classifier.batch_norm != "inductive":
        raise SettingsError(
            f"a {classifier.batch_norm} classifier cannot be exported: its answer for an image "
            "depends on the others; expected an inductive one"
        )


class _Outputs(nn.Module):
    """A network with logits or probabilities at its end."""

    def __init__(self, network: nn.Module, output: str) -> None:
        super().__init__()
        self.network, self.likely = network, output == "probabilities"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to (B, ways)."""
        logits: torch.Tensor = self.network(images)
        return logits.softmax(dim=1) if self.likely else logits


class _Inductive(nn.Module):
    """What the file is compared with: the network as `Classifier` uses it."""

    def __init__(self, network: nn.Module, support: torch.Tensor) -> None:
        super().__init__()
        self.network, self.support = network, support

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to logits (B, ways)."""
        return with_support_statistics(self.network, self.support, images)


def _write(network: nn.Module, example: torch.Tensor, metadata: dict[str, Any], path: Path) -> None:
    """Writes the file.

    Args:
        network: in evaluation mode.
        example: images (B, channels, H, W), B at least 2.
        metadata: plain values.
        path: of the file; its ending is the format.
    """
    text = json.dumps(metadata)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own, about itself
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            program = torch.export.export(network.eval(), (example,), dynamic_shapes=shapes)
            if path.suffix == PT2:
                torch.export.save(program, path, extra_files={METADATA: text})
            else:
                _write_onnx(program, text, path)
    except Exception as error:  # the exporters raise many kinds
        first = next(iter(str(error).strip().splitlines()), "")
        raise BackboneError(
            f"the network cannot be exported: {type(error).__name__}: {first}"
        ) from error


def _write_onnx(program: torch.export.ExportedProgram, text: str, path: Path) -> None:
    made = torch.onnx.export(
        program, (), dynamo=True, verbose=False, input_names=[INPUT], output_names=["output"],
        dynamic_shapes=({0: "batch"},),
    )  # fmt: skip
    assert made is not None
    made.model.metadata_props[METADATA] = text
    made.save(path, external_data=False)


def load_exported(path: str | Path) -> tuple[Runner, dict[str, Any]]:
    """Reads an exported file.

    Args:
        path: ``.onnx`` or ``.pt2``.

    Returns:
        A function from float32 images (B, channels, H, W) to outputs (B, ways), on the CPU,
        and the metadata.

    Raises:
        SettingsError: as `check_export`.
    """
    path = Path(path)
    check_export(path)
    return _load_pt2(path) if path.suffix == PT2 else _load_onnx(path)


def _load_onnx(path: Path) -> tuple[Runner, dict[str, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0]), metadata


def _load_pt2(path: Path) -> tuple[Runner, dict[str, Any]]:
    extra = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(path, extra_files=extra).module()
    return module, json.loads(extra[METADATA])


def _batches(support: torch.Tensor) -> list[torch.Tensor]:
    """The support set, and random images of its size."""
    generator = torch.Generator().manual_seed(derive_seed("export"))
    sizes = ((count, *support.shape[1:]) for count in BATCHES)
    return [support, *(torch.rand(size, generator=generator) for size in sizes)]


def _difference(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest between found and expected outputs.

    Raises:
        BackboneError: if it is too large.
    """
    found = max(float((one - other).abs().max()) for one, other in pairs)
    shapes = all(one.shape == other.shape for one, other in pairs)
    if not (shapes and found <= LARGEST):  # NaN is not
        raise BackboneError(
            f"the exported network differs from the classifier by up to {found:.3g}; expected at "
            f"most {LARGEST:g}, so the file was not kept"
        )
    return found
