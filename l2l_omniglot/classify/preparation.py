"""Preparation of a person's own pictures as images for a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from l2l_omniglot._util.text import counted
from l2l_omniglot.data.pictures import (
    FITS,
    Pixels,
    centre_and_scale,
    clean,
    is_centred,
    is_photograph,
    to_images,
)
from l2l_omniglot.errors import DataError, check_choice
from l2l_omniglot.experiments.checkpoint import Checkpoint


@dataclass(frozen=True)
class Preparation:
    """The preparation of pictures as images for the network, the same for support and queries.

    Attributes:
        fitted: whether pictures are centred and scaled, and drawn with one pen.
        cleaned: whether paper is made white and ink black.
        size: of the images, pixels per side.
        channels: of the images.
        ink: of the images, ``white`` (1) or ``black`` (0).
        reason: why pictures are centred and scaled, in words; empty if they are not, or if that
            was asked for.
    """

    fitted: bool
    cleaned: bool
    size: int
    channels: int
    ink: str
    reason: str = ""

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        support: Sequence[Image.Image],
        queries: Sequence[Image.Image] = (),
        fit: str = "auto",
    ) -> Preparation:
        """Chooses the preparation.

        Args:
            checkpoint: of the network; gives size, channels and ink.
            support: the support pictures.
            queries: the pictures to be classified, as far as they are known.
            fit: ``always``: make paper white and ink black, and centre, scale and redraw as
                Omniglot's drawings are; ``auto``: do the first, and the rest unless all pictures
                look like Omniglot's drawings already; ``never``: leave pictures as they are.

        Raises:
            DataError: if the network was not trained on square images.
            SettingsError: if scikit-image is needed and not installed.
        """
        check_choice("fit", fit, FITS)
        size = checkpoint.image_size
        if not isinstance(size, int):
            raise DataError(f"{checkpoint.source}: trained on images of {size}; expected square")
        reason = _unlike_omniglot(support, queries) if fit == "auto" else ""
        fitted = fit == "always" or bool(reason)
        channels, ink = checkpoint.channels, checkpoint.settings.ink
        return cls(fitted, fit != "never", size, channels, ink, reason)

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Turns B pictures into images, float32 (B, channels, size, size) in [0, 1]."""
        if self.cleaned:
            prepare = centre_and_scale if self.fitted else clean
            pictures = [prepare(picture) for picture in pictures]
        images = to_images(pictures, self.size, self.ink)
        return images.expand(-1, self.channels, -1, -1)

    def pixels(self, images: torch.Tensor) -> list[Pixels]:
        """Turns images back into uint8 (size, size) each, dark ink on white paper."""
        shown = 1 - images[:, 0] if self.ink == "white" else images[:, 0]
        return list((255 * shown).round().to(torch.uint8).numpy())


def _unlike_omniglot(support: Sequence[Image.Image], queries: Sequence[Image.Image]) -> str:
    """Says in which way pictures do not look like Omniglot's drawings; empty if they do."""
    for name, pictures in (("support picture", support), ("query", queries)):
        photographs = sum(map(is_photograph, pictures))
        if photographs:
            all_of = counted(len(pictures), name).replace("querys", "queries")
            return f"{photographs} of {all_of}: photographed or not square"
    for name, pictures in (("support pictures", support), ("queries", queries)):
        if pictures and not is_centred(pictures):
            return f"the ink of most {name} is small, large or off-centre"
    return ""
