"""A person's picture as it is: made square, and no drawing looked for in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from l2l_omniglot.data.drawing import two_sizes


@dataclass(frozen=True)
class Plain:
    """A picture of anything; has what is asked of a `Drawing`, too.

    Attributes:
        taken: as it was read, 8-bit, grey or RGB, to look at: at most `LOOKED_AT` pixels a side.
        picture: the same, square, at most `MOST_SIDE` pixels a side.
        steps: what was done to find ink: nothing.
        doubt: empty.
    """

    taken: Image.Image
    picture: Image.Image
    steps: frozenset[str] = frozenset()
    doubt: str = ""

    def is_redrawn(self, how: str) -> bool:  # noqa: ARG002 - as a drawing's
        """Returns False: there is no ink to redraw."""
        return False

    def prepared(self, how: str) -> Image.Image:  # noqa: ARG002 - as a drawing's
        """Returns what the network is to see, 8-bit, grey or RGB, of any size."""
        return self.picture


def as_it_is(picture: Image.Image, name: str) -> Plain:
    """Makes a picture square: nothing is cut off, and the border's median colour fills the rest.

    Args:
        picture: 8-bit, grey or RGB.
        name: of the picture, for errors.

    Raises:
        DataError: if the picture is too narrow.
    """
    kept, taken = two_sizes(picture, name)
    return Plain(taken, _square(kept))


def _square(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    if picture.width == picture.height:
        return picture
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0).round().astype(int)
    sheet = Image.new(picture.mode, (side, side), tuple(np.atleast_1d(colour).tolist()))
    sheet.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return sheet
