"""Preparation of a person's own pictures as images for a trained network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from l2l_omniglot._util.text import counted
from l2l_omniglot.data.drawing import LIGHT_INK, PHOTOGRAPH, REDRAWS, RULED, SHEET, Drawing
from l2l_omniglot.data.light import Pixels
from l2l_omniglot.data.pictures import to_images
from l2l_omniglot.errors import DataError, check_choice
from l2l_omniglot.experiments.checkpoint import Checkpoint

REDRAWN = "redrawn"
SAID = {
    SHEET: "the sheet was found and straightened",
    PHOTOGRAPH: "ink was told from light and shade",
    RULED: "ruled lines were taken out",
    LIGHT_INK: "light ink was made dark",
    REDRAWN: "ink was centred, scaled and redrawn with one pen",
}


@dataclass(frozen=True)
class Preparation:
    """The preparation of pictures as images for the network: of each by itself.

    Attributes:
        redraw: which pictures are centred, scaled and redrawn with one pen: ``auto``, ``always``
            or ``never``, see `Drawing.prepared`.
        size: of the images, pixels per side.
        channels: of the images.
        ink: of the images, ``white`` (1) or ``black`` (0).
    """

    redraw: str
    size: int
    channels: int
    ink: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, redraw: str = "auto") -> Preparation:
        """Returns the preparation for a network.

        Args:
            checkpoint: of the network; gives size, channels and ink.
            redraw: see above.

        Raises:
            DataError: if the network was not trained on square images.
            SettingsError: if `redraw` is unknown.
        """
        check_choice("redraw", redraw, REDRAWS)
        size = checkpoint.image_size
        if not isinstance(size, int):
            raise DataError(f"{checkpoint.source}: trained on images of {size}; expected square")
        return cls(redraw, size, checkpoint.channels, checkpoint.settings.ink)

    def images(self, drawings: Sequence[Drawing]) -> torch.Tensor:
        """Turns B drawings into images, float32 (B, channels, size, size) in [0, 1].

        Raises:
            SettingsError: if one is to be redrawn, and scikit-image is not installed.
        """
        pictures = [drawing.prepared(self.redraw) for drawing in drawings]
        images = to_images(pictures, self.size, self.ink)
        return images.expand(-1, self.channels, -1, -1)

    def pixels(self, images: torch.Tensor) -> list[Pixels]:
        """Turns images back into uint8 (size, size) each, dark ink on white paper."""
        shown = 1 - images[:, 0] if self.ink == "white" else images[:, 0]
        return list((255 * shown).round().to(torch.uint8).numpy())

    def steps(self, drawing: Drawing) -> list[str]:
        """Lists what is done to a drawing, in order: names of `SAID`."""
        done = frozenset[str]() if self.redraw == "never" else drawing.steps
        redrawn = drawing.is_redrawn(self.redraw)
        return [step for step in SAID if step in done or (step == REDRAWN and redrawn)]

    def said(self, drawings: Sequence[Drawing]) -> str:
        """Says in one sentence what is done to how many of some drawings; empty if nothing is."""
        counts = Counter(step for drawing in drawings for step in self.steps(drawing))
        parts = [f"in {counts[step]} {text}" for step, text in SAID.items() if counts[step]]
        return f"Of {counted(len(drawings), 'picture')}: {', '.join(parts)}." if parts else ""
