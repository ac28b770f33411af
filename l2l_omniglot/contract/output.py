"""Checks of a backbone's constructor, inputs and outputs."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.batch_norm import (
    checked_forward,
    use_batch_statistics,
    with_support_statistics,
)
from l2l_omniglot.contract.candidate import WAYS, Candidate, check, images
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.experiments.learners import read_weights

_WAYS, _BATCHES = (2, 5, 20), (2, 5, 25)
_OTHERS = ((3, 28), (1, 84), (3, 84), (1, (28, 40)))  # channels, image size


@check("builds")
def builds(candidate: Candidate) -> str:
    """Take ways, channels and image_size by keyword; return a torch.nn.Module."""
    for ways in _WAYS:
        candidate.build(ways)
    return f"{', '.join(map(str, _WAYS))} ways"


@check("tolerates keywords", builds)
def keywords(candidate: Candidate) -> None:
    """Add **_ to the arguments: settings of other backbones, such as init, are passed as well."""
    candidate.build(init="zero", not_known_to_any_backbone=1)


@check("no running statistics", builds, keywords)
def statistics(candidate: Candidate) -> None:
    """Normalise by the batch at hand: running_mean and running_var are None."""
    network = candidate.build(init="zero").eval()
    try:
        checked_forward(network, images(WAYS))
    except BackboneError:
        return  # for another reason, which the logits' check reports
    use_batch_statistics(network)
    try:
        checked_forward(network, images(WAYS))
    except BackboneError as error:
        raise BackboneError(f"without running statistics {error}") from error


@check("logits", builds, keywords, statistics)
def logits(candidate: Candidate) -> str:
    """Return one tensor of shape (B, ways), for any B of 2 or more, with the images' dtype."""
    for ways in _WAYS:
        network = candidate.network(ways)
        for batch in _BATCHES:
            for training in (True, False):
                with torch.no_grad(), all_random("contract", "forward"):
                    _check_logits(network.train(training), images(batch), ways)
    return "float32 (B, ways)"


FORWARD = builds, keywords, statistics, logits


def _check_logits(network: nn.Module, batch: torch.Tensor, ways: int) -> None:
    logits = checked_forward(network, batch.clone())
    if logits.shape[1] != ways:
        raise BackboneError(f"returned {tuple(logits.shape)}; expected ({len(batch)}, {ways})")
    if logits.dtype != batch.dtype:
        raise BackboneError(f"returned {logits.dtype} for {batch.dtype} images; expected the same")
    if not logits.isfinite().all():
        raise BackboneError(f"returned NaN or infinity for images of shape {tuple(batch.shape)}")


@check("one image", *FORWARD)
def one_image(candidate: Candidate) -> str:
    """Accept B = 1, at least when normalised by the support set's statistics."""
    network = candidate.network().eval()
    with torch.no_grad():
        try:
            checked_forward(network, images(1))
        except BackboneError:
            with_support_statistics(network, images(10), images(1, key="one"))
            return "by the support set's statistics; a single image has none of its own"
    return ""


@check("input unchanged", *FORWARD)
def input_unchanged(candidate: Candidate) -> None:
    """Avoid in-place operations on the input: images - 0.5, not images.sub_(0.5)."""
    for training in (False, True):
        given = images(WAYS)
        with torch.no_grad():
            checked_forward(candidate.network().train(training), given)
        change = float((given - images(WAYS)).abs().max())
        if change:
            raise BackboneError(f"changes the images it is given in place, by up to {change:.3g}")


@check("same seed, same weights", builds, keywords)
def same_seed(candidate: Candidate) -> None:
    """Draw initial weights from torch's, NumPy's or Python's global generator only."""
    one, other = (read_weights(candidate.build(init="zero")) for _ in range(2))
    for name, weight in one.items():
        if name not in other or not torch.equal(weight, other[name]):
            raise BackboneError(f"{name!r} differs when built again from the same seed")


@check("same output", *FORWARD)
def same_output(candidate: Candidate) -> None:
    """Use no randomness in evaluation mode: F.dropout(x, training=self.training), or nn.Dropout.

    Keep no state from one pass to the next.
    """
    network, found = candidate.network().eval(), []
    for seed in range(2):
        with torch.no_grad(), all_random("contract", "pass", seed):
            found.append(checked_forward(network, images(WAYS)))
    if not torch.equal(*found):
        raise BackboneError("two forward passes in evaluation mode differ on the same images")


@check("other images", *FORWARD, required=False)
def other_images(candidate: Candidate) -> str:
    """Use channels and image_size, which may be (height, width); else only 1 x 28 x 28 works."""
    for channels, size in _OTHERS:
        network = candidate.build(channels=channels, image_size=size, init="zero").eval()
        use_batch_statistics(network)
        with torch.no_grad():
            _check_logits(network, images(WAYS, channels, size), WAYS)
    return "1 and 3 channels; 28, 84 and (28, 40) pixels"
