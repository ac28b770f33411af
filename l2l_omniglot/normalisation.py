"""Batch normalisation: by the batch at hand, or by the statistics of another batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from l2l_omniglot.errors import BackboneError

Moments = tuple[torch.Tensor, torch.Tensor]


def use_batch_statistics(module: nn.Module) -> None:
    """Takes the running statistics out of every normalisation layer, in place.

    Without them PyTorch normalises by the batch at hand in training and evaluation mode alike.
    """
    for layer in module.modules():
        if isinstance(layer, _NormBase):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def normalised_by(
    network: nn.Module,
    statistics_of: torch.Tensor,
    images: torch.Tensor,
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Passes images through a network whose batch normalisation goes by another batch.

    Every layer normalises the images by the mean and variance it has for `statistics_of`: no
    image sees another. Only layers of torch's own batch normalisation are known as such; see
    `check_independence` for those that are not.

    Args:
        network: left as it was; no other thread may use it meanwhile.
        statistics_of: the other batch, e.g. the support set; (B, channels, H, W).
        images: (B', channels, H, W).
        forward: ``network(images)``, or that with checks around it.

    Raises:
        BackboneError: if a layer does more than normalise.
    """
    books = note_statistics(network, statistics_of, forward)
    return forward_by(network, books, images, forward)


def note_statistics(
    network: nn.Module,
    statistics_of: torch.Tensor,
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor],
) -> list[Book]:
    """The statistics every layer has for a batch, for `forward_by`; see `normalised_by`."""
    layers = _layers(network)
    books = [Book() for _ in layers]
    with _going_by(layers, books):
        forward(network, statistics_of)
    return books


def forward_by(
    network: nn.Module,
    books: list[Book],
    images: torch.Tensor,
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Passes images through a network by noted statistics, as often as one likes."""
    for book in books:
        book.open()
    with _going_by(_layers(network), books):
        return forward(network, images)


def _layers(network: nn.Module) -> list[_BatchNorm]:
    """The layers that normalise.

    Raises:
        BackboneError: if one does more than that.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        if type(layer).forward is not _BatchNorm.forward:
            raise BackboneError(
                f"{type(layer).__name__} does something else than torch's batch normalisation, so "
                "it cannot be given the support set's statistics; needed nn.BatchNorm1d, 2d or "
                "3d, or transductive evaluation"
            )
    return layers


@contextmanager
def _going_by(layers: list[_BatchNorm], books: list[Book]) -> Iterator[None]:
    """Inside the block the layers go by the books."""
    try:
        for layer, book in zip(layers, books, strict=True):
            layer.forward = _by_book(layer, book)  # type: ignore[assignment]
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def check_independence(
    logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> None:
    """Tries out that an image has the same logits alone and in company.

    Args:
        logits: inductive logits (B, ways) of images (B, channels, H, W).
        images: two or more.

    Raises:
        BackboneError: if it has not: images see each other outside torch's layers.
    """
    alone, together = logits(images[:1])[0], logits(images)[0]
    if not torch.allclose(alone, together, rtol=1e-3, atol=1e-3):
        raise BackboneError(
            "its query images see each other outside torch's batch normalisation layers (an "
            "image's logits are not the same alone and in company), so it cannot be evaluated "
            "inductively; needed nn.BatchNorm layers, or transductive evaluation"
        )


class Book:
    """The statistics of a layer for each of its uses in a forward pass, in order."""

    def __init__(self) -> None:
        self._moments: list[Moments] = []
        self._read: int | None = None

    def open(self) -> None:
        """From now on what was noted is read, from the beginning."""
        self._read = 0

    def moments(self, own: Callable[[], Moments]) -> Moments:
        """Those of the next use: its own, which are noted; once open, the noted ones.

        Raises:
            BackboneError: if the layer was not used that often.
        """
        if self._read is None:
            self._moments.append(own())
            return self._moments[-1]
        if self._read == len(self._moments):
            raise BackboneError(
                "a batch normalisation layer is used more often for the query than for the "
                "support set"
            )
        self._read += 1
        return self._moments[self._read - 1]


def moments(batch: torch.Tensor) -> Moments:
    """Variance (not corrected) and mean of (B, channels, ...): each (channels,)."""
    others = [axis for axis in range(batch.ndim) if axis != 1]
    variance, mean = torch.var_mean(batch, others, correction=0)
    return variance, mean


def _by_book(layer: _BatchNorm, book: Book) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward pass of the layer with the book's statistics."""

    def forward(batch: torch.Tensor) -> torch.Tensor:
        variance, mean = book.moments(lambda: moments(batch))
        return batch_norm(batch, mean, variance, layer.weight, layer.bias, eps=layer.eps)

    return forward
