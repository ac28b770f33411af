"""Checks of a backbone's head, and of saving, loading and resizing its weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.backbones.heads import head_name
from l2l_omniglot.contract.candidate import WAYS, Candidate, check, images
from l2l_omniglot.contract.gradients import SOUND
from l2l_omniglot.contract.output import outputs
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.experiments.checkpoint import Checkpoint, load_checkpoint
from l2l_omniglot.experiments.learners import load_resized, read_weights, write_weights
from l2l_omniglot.experiments.settings import Settings
from l2l_omniglot.meta.inner_rates import make_rates

OTHER_WAYS = 7


@check("head", *SOUND)
def head(candidate: Candidate) -> str:
    """Set the attribute head_name to the layer that makes the logits, or register it last.

    ANIL and the baselines need its name.
    """
    network = candidate.network().eval()
    name = head_name(network)
    if name not in dict(network.named_modules(remove_duplicate=False)):
        raise BackboneError(f"its head {name!r} is no layer of it")
    make_rates("fixed", network, 0.1, "head")  # as in ANIL: refuses a head without parameters
    uses: list[Any] = []
    network.get_submodule(name).register_forward_hook(lambda *arguments: uses.append(arguments[2]))
    with torch.no_grad():
        logits = checked_forward(network, images(WAYS))
    if len(uses) != 1:
        raise BackboneError(
            f"its last layer {name!r} is used {len(uses)} times per pass; expected once"
        )
    output = uses[0]
    if not (isinstance(output, torch.Tensor) and output.shape == logits.shape):
        raise BackboneError(f"its head {name!r} does not make the logits")
    return repr(name)


@check("saved and loaded", *SOUND)
def saved(candidate: Candidate) -> None:
    """Make whatever the logits depend on a parameter or a persistent buffer (register_buffer)."""
    one, other = candidate.network(seed=0).eval(), candidate.network(seed=1).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        Checkpoint(Settings(), 0, read_weights(one)).save(path)
        write_weights(other, load_checkpoint(path).weights, "the saved file")
    with torch.no_grad():
        expected, loaded = (checked_forward(network, images(WAYS)) for network in (one, other))
    if not torch.equal(expected, loaded):
        raise BackboneError(
            "a second network that loads the saved weights has different logits: by up to "
            f"{float((expected - loaded).abs().max()):.3g}"
        )


@check("resized", *SOUND, outputs)
def resized(candidate: Candidate) -> str:
    """Let only the first dimension of the head's parameters depend on ways."""
    weights, learner = read_weights(candidate.network()), candidate.learner(OTHER_WAYS)
    load_resized(learner, Checkpoint(Settings(), 0, weights, source="its weights"))
    logits = checked_forward(learner.backbone.eval(), images(WAYS))
    if logits.shape[1] != OTHER_WAYS:
        raise BackboneError(f"returned {tuple(logits.shape)}; expected ({WAYS}, {OTHER_WAYS})")
    return f"{WAYS} to {OTHER_WAYS} ways"
