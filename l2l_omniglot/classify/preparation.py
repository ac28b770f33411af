"""Preparation of a person's own pictures as images for a trained network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from l2l_omniglot._util.text import counted
from l2l_omniglot.data import DRAWINGS, REDRAWS
from l2l_omniglot.data.drawing import LIGHT_INK, PHOTOGRAPH, RULED, SHEET
from l2l_omniglot.data.light import Pixels
from l2l_omniglot.data.pictures import Picture, to_images
from l2l_omniglot.errors import DataError, check_choice, refused
from l2l_omniglot.experiments.checkpoint import Checkpoint

COLOURS = 3  # channels of RGB
REDRAWN = "redrawn"
SAID = {
    SHEET: "the sheet was found and straightened",
    PHOTOGRAPH: "ink was told from light and shade",
    RULED: "ruled lines were taken out",
    LIGHT_INK: "light ink was made dark",
    REDRAWN: "ink was centred, scaled and redrawn with one pen",
}
UNCHANGED = "nothing was changed but its size"


@dataclass(frozen=True)
class Preparation:
    """The preparation of pictures as images for the network: of each independently.

    Attributes:
        redraw: which pictures are centred, scaled and redrawn with one pen: ``auto``, ``always``
            or ``never``, see `Drawing.prepared`.
        size: of the images, pixels per side.
        channels: of the images.
        ink: of the images, ``white`` (1) or ``black`` (0).
        kind: of the pictures, see `l2l_omniglot.data.KINDS`.
    """

    redraw: str
    size: int
    channels: int
    ink: str
    kind: str = DRAWINGS

    @classmethod
    def of(cls, checkpoint: Checkpoint, redraw: str = "auto") -> Preparation:
        """Returns the preparation for a network.

        Args:
            checkpoint: of the network; gives all but what is redrawn.
            redraw: see above.

        Raises:
            DataError: if the network was not trained on square images.
            SettingsError: if `redraw` is unknown.
        """
        check_choice("redraw", redraw, REDRAWS)
        size = checkpoint.image_size
        if not isinstance(size, int):
            raise DataError(f"{checkpoint.source}: trained on images of {size}; expected square")
        ink, kind = checkpoint.settings.ink, checkpoint.pictures
        if redraw == "always" and kind != DRAWINGS:
            expected = "expected auto, since these weights see pictures as they are"
            raise refused("redraw", redraw, expected)
        return cls(redraw, size, checkpoint.channels, ink, kind)

    def images(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """Turns B pictures into images, float32 (B, channels, size, size) in [0, 1].

        Raises:
            SettingsError: if one is to be redrawn, and scikit-image is not installed.
        """
        mode = "RGB" if self.channels == COLOURS else "L"
        prepared = [picture.prepared(self.redraw).convert(mode) for picture in pictures]
        return to_images(prepared, self.size, self.ink)

    def pixels(self, images: torch.Tensor) -> list[Pixels]:
        """Turns images back into uint8 each: (size, size), or (size, size, 3) in colour."""
        shown = 1 - images if self.ink == "white" else images
        pixels = (255 * shown).round().to(torch.uint8).movedim(1, 3)
        return list((pixels if self.channels == COLOURS else pixels[..., 0]).numpy())

    def steps(self, picture: Picture) -> list[str]:
        """Lists what is done to a picture, in order: names of `SAID`."""
        done = frozenset[str]() if self.redraw == "never" else picture.steps
        redrawn = picture.is_redrawn(self.redraw)
        return [step for step in SAID if step in done or (step == REDRAWN and redrawn)]

    def said_of_one(self, picture: Picture) -> str:
        """Says in one sentence what is done to a picture."""
        done = ", ".join(SAID[step] for step in self.steps(picture)) or UNCHANGED
        return f"{done[0].upper()}{done[1:]}."

    def said(self, pictures: Sequence[Picture]) -> str:
        """Says in one sentence what is done to how many of some pictures; empty if nothing is."""
        counts = Counter(step for picture in pictures for step in self.steps(picture))
        parts = [f"in {counts[step]} {text}" for step, text in SAID.items() if counts[step]]
        return f"Of {counted(len(pictures), 'picture')}: {', '.join(parts)}." if parts else ""
