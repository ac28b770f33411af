"""Checks of what is done with a backbone's weights: its head, files, other numbers of ways."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l2l_omniglot.checkpoint import Checkpoint, load_checkpoint, read_weights, write_weights
from l2l_omniglot.contract.candidate import WAYS, Candidate, Check, images
from l2l_omniglot.contract.gradients import PARAMETERS
from l2l_omniglot.contract.output import LOGITS, SAME_OUTPUT
from l2l_omniglot.engines.clones import forward
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.learner import Learner
from l2l_omniglot.rates import head_layer, make_rates
from l2l_omniglot.settings import Settings
from l2l_omniglot.transfer import take_over

OTHER_WAYS = 7


def _head(candidate: Candidate) -> str:
    network = candidate.network().eval()
    name = head_layer(network)
    if name not in dict(network.named_modules(remove_duplicate=False)):
        raise BackboneError(f"its head {name!r} is no layer of it")
    make_rates("fixed", network, 0.1, "head")  # as ANIL: has it parameters to adapt?
    made, logits = _outputs(network, name)
    if len(made) != 1:
        raise BackboneError(
            f"its last layer {name!r} is used {len(made)} times a pass; needed once"
        )
    if not (isinstance(made[0], torch.Tensor) and made[0].shape == logits.shape):
        raise BackboneError(f"its head {name!r} does not make the logits")
    return repr(name)


def _outputs(network: nn.Module, name: str) -> tuple[list[Any], torch.Tensor]:
    """What a layer returned in a pass, each time, and the logits."""
    made: list[Any] = []
    layer = network.get_submodule(name)
    hook = layer.register_forward_hook(lambda _module, _given, output: made.append(output))
    with torch.no_grad():
        logits = forward(network, images(WAYS))
    hook.remove()
    return made, logits


def _saved(candidate: Candidate) -> str:
    one, other = candidate.network(seed=0).eval(), candidate.network(seed=1).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        Checkpoint(Settings(), 0, read_weights(one)).save(path)
        write_weights(other, load_checkpoint(path).weights, "the saved file")
    with torch.no_grad():
        needed, found = (forward(network, images(WAYS)) for network in (one, other))
    if not torch.equal(needed, found):
        raise BackboneError(
            "with the weights of another, saved and loaded, it has other logits: by up to "
            f"{float((needed - found).abs().max()):.3g}"
        )
    return ""


def _resized(candidate: Candidate) -> str:
    trained = candidate.network()
    learner: Learner = candidate.learner(OTHER_WAYS)
    take_over(learner, Checkpoint(Settings(), 0, read_weights(trained), source="its weights"))
    logits = forward(learner.backbone.eval(), images(WAYS))
    if logits.shape[1] != OTHER_WAYS:
        raise BackboneError(f"returned {tuple(logits.shape)}; needed ({WAYS}, {OTHER_WAYS})")
    return f"{WAYS} to {OTHER_WAYS} ways"


_NEEDS = (LOGITS, PARAMETERS, SAME_OUTPUT)
WEIGHTS = (
    Check("head", _head,
          "set the attribute head_name to the name of the layer that makes the logits, or make it "
          "last: ANIL and the baselines ask for it", needs=_NEEDS),
    Check("saved and loaded", _saved,
          "whatever counts must be a parameter or a persistent buffer (register_buffer)",
          needs=_NEEDS),
    Check("resized", _resized,
          "let only the first dimension of the head's parameters depend on ways", needs=_NEEDS),
)  # fmt: skip
