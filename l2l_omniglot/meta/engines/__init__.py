"""Engines: how the inner loop is computed. All give the same meta-gradient.

- ``fast_weights``: a backbone's weights while they adapt, and the one inner loop
- ``kept``: what no inner step changes, as the features of ANIL's body, made once
- ``learn2learn_engine``: learn2learn's clone and adapt, task by task
- ``stacked``: several tasks as one batch of every layer
- ``layers``: layers for several tasks side by side
- ``blocks``: convolution, normalisation, ReLU and pooling computed together
- ``pooling``: 2x2 max-pool that is differentiated twice cheaply
- ``convolution``: convolutions with a weight per task
"""

from __future__ import annotations

import copy
import warnings
from typing import NamedTuple

import torch
from torch import nn

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.batch_norm import checked_forward
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.fast_weights import Engine as Engine
from l2l_omniglot.meta.engines.fast_weights import Inner
from l2l_omniglot.meta.engines.learn2learn_engine import Learn2learnEngine
from l2l_omniglot.meta.engines.stacked import StackedEngine
from l2l_omniglot.meta.inner_rates import InnerRates


class Choice(NamedTuple):
    """An engine, and why `auto` chose it (empty if it was asked for)."""

    engine: Engine
    reason: str

    def __str__(self) -> str:
        return f"{self.engine.name}{self.reason and f' ({self.reason})'}"


def choose_engine(
    name: str, reference: Learn2learnEngine, backbone: nn.Module, images: torch.Tensor
) -> Choice:
    """Returns the engine of a name.

    ``auto`` is ``stacked`` if that agrees with the backbone itself on `images`, tried once in
    float64; else ``learn2learn``.

    Args:
        name: one of ``learn2learn``, ``stacked`` or ``auto``.
        reference: the learn2learn engine.
        backbone: see `Learner`.
        images: some (B, channels, H, W), at least 2.

    Raises:
        BackboneError: if ``stacked`` is asked for and does not support the backbone; says why.
    """
    if name == "learn2learn":
        return Choice(reference, "")
    try:
        if next(backbone.parameters()).device.type == "mps":
            raise BackboneError("it is on MPS, which has no float64")
        engine = StackedEngine(backbone, reference.rates, reference.head, reference.norms)
        _try_out(backbone, reference.rates, images)
    except BackboneError as error:
        if name == "stacked":
            raise BackboneError(f"--engine stacked cannot take this backbone: {error}") from error
        return Choice(reference, f"the backbone cannot be stacked: {error}")
    return Choice(engine, "every layer has a stacked form" if name == "auto" else "")


def _try_out(backbone: nn.Module, rates: InnerRates, images: torch.Tensor) -> None:
    """Compares two stacked copies, of different weights and images, with the backbone.

    Raises:
        BackboneError: if the logits differ, or the forward pass changed a buffer.
    """
    network = copy.deepcopy(backbone).cpu().double().eval()
    images = images.cpu().double()
    half = len(images) // 2
    batches = images[:half], images[half : 2 * half]
    stacked = {
        name: torch.stack([p.detach(), p.detach() * 1.5 + 0.01])
        for name, p in network.named_parameters()
    }
    weights = StackedEngine(copy.deepcopy(network), rates).start(2, Inner())
    weights.replace(stacked)
    with torch.no_grad(), all_random("engine"), warnings.catch_warnings():
        warnings.filterwarnings("error", "There is a performance drop")  # vmap's loops
        logits = weights.logits(torch.stack(batches))
        for task, batch in enumerate(batches):
            for name, parameter in network.named_parameters():
                parameter.copy_(stacked[name][task])
            expected = checked_forward(network, batch)
            if not torch.allclose(logits[task], expected, rtol=1e-6, atol=1e-8):
                raise BackboneError(
                    f"{type(backbone).__name__} does not treat every image by itself outside "
                    "its layers"
                )
    after = dict(network.named_buffers())
    for name, buffer in backbone.named_buffers():
        if not torch.equal(buffer.to(after[name]), after[name]):
            raise BackboneError(f"its buffer {name!r} changes from one forward pass to the next")
