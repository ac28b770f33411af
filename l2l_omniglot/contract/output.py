"""Checks of a backbone's constructor, inputs and outputs."""

from __future__ import annotations

import torch
from torch import nn

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.batch_norm import checked_forward, forward_by, record_moments
from l2l_omniglot.backbones.heads import convert
from l2l_omniglot.backbones.registry import load_backbone
from l2l_omniglot.contract.candidate import WAYS, Candidate, check, images
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.experiments.learners import read_weights

_BATCHES = (2, 5, 25)
_OTHERS = ((3, 28), (1, 84), (3, 84), (1, (28, 40)))  # channels, image size


@check("imports")
def imports(candidate: Candidate) -> None:
    """Install what is missing; the entry point is NAME = module:function."""
    load_backbone(candidate.name)


@check("builds", imports)
def builds(candidate: Candidate) -> str:
    """Take ways, channels and image_size by keyword; return a torch.nn.Module."""
    refused, built = list[BackboneError](), list[int]()
    for ways in candidate.ways:
        try:
            candidate.build(ways)
            built.append(ways)
        except BackboneError as error:
            refused.append(error)
    candidate.ways = tuple(built)
    if WAYS in built:
        candidate.got_round.add(builds.name)
    if refused:
        raise refused[0]
    return f"{', '.join(map(str, built))} ways"


@check("tolerates keywords", builds)
def keywords(candidate: Candidate) -> None:
    """Add **_ to the arguments: settings of other backbones, such as init, are passed as well."""
    try:
        candidate.build(init="zero", not_known_to_any_backbone=1)
    except BackboneError:
        candidate.bare = True
        if WAYS in candidate.ways:
            candidate.got_round.add(keywords.name)
        raise


@check("no running statistics", builds, keywords)
def statistics(candidate: Candidate) -> None:
    """Normalise by the batch at hand: running_mean and running_var are None."""
    network = candidate.build(init="zero").eval()
    try:
        checked_forward(network, images(WAYS))
    except BackboneError:
        return  # for another reason, which the logits' check reports
    network = convert(network)
    try:
        checked_forward(network, images(WAYS))
    except BackboneError as error:
        raise BackboneError(f"without running statistics {error}") from error


@check("logits", builds, keywords, statistics)
def logits(candidate: Candidate) -> str:
    """Return one tensor of shape (B, outputs), for any B of 2 or more, with the images' dtype."""
    for ways in candidate.ways or (WAYS,):
        network = candidate.network(ways)
        for batch in _BATCHES:
            for training in (True, False):
                with torch.no_grad(), all_random("contract", "forward"):
                    _check_logits(network.train(training), images(batch))
    return "float32"


@check("ways", logits)
def outputs(candidate: Candidate) -> str:
    """Return one logit for each class, as many as `ways` says."""
    for ways in candidate.ways or (WAYS,):
        with torch.no_grad():
            _check_ways(candidate.network(ways), images(WAYS), ways)
    return "(B, ways)"


FORWARD = builds, keywords, statistics, logits, outputs


def _check_ways(network: nn.Module, batch: torch.Tensor, ways: int) -> None:
    shape = tuple(checked_forward(network, batch.clone()).shape)
    if shape[1] != ways:
        raise BackboneError(f"returned {shape}; expected ({len(batch)}, {ways})")


def _check_logits(network: nn.Module, batch: torch.Tensor) -> None:
    logits = checked_forward(network, batch.clone())
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
            forward_by(network, record_moments(network, images(10)), images(1, key="one"))
            return "by the support set's statistics"
    return ""


@check("input unchanged", *FORWARD)
def input_unchanged(candidate: Candidate) -> None:
    """Avoid in-place operations on the input: images - 0.5, not images.sub_(0.5)."""
    for training in (False, True):
        batch = images(WAYS)
        with torch.no_grad():
            checked_forward(candidate.network().train(training), batch)
        change = float((batch - images(WAYS)).abs().max())
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
    network = candidate.network().eval()
    one, other, again = (_pass(network, seed) for seed in (0, 1, 1))
    if torch.equal(one, other) and torch.equal(other, again):
        return
    reason = "two forward passes in evaluation mode differ on the same images"
    if torch.equal(other, again):  # only by what it draws
        candidate.seeded = True
        candidate.got_round.add(same_output.name)
        reason += ", unless they draw the same random numbers"
    raise BackboneError(reason)


def _pass(network: nn.Module, seed: int) -> torch.Tensor:
    with torch.no_grad(), all_random("contract", "pass", seed):
        return checked_forward(network, images(WAYS))


@check("other images", *FORWARD, required=False)
def other_images(candidate: Candidate) -> str:
    """Use channels and image_size, which may be (height, width); else only 1 x 28 x 28 works."""
    for channels, size in _OTHERS:
        network = convert(candidate.build(channels=channels, image_size=size, init="zero")).eval()
        with torch.no_grad():
            _check_logits(network, images(WAYS, channels, size))
            _check_ways(network, images(WAYS, channels, size), WAYS)
    return "1 and 3 channels; 28, 84 and (28, 40) pixels"
