"""One forward pass: what batch normalisation goes by, and what is to be noted on the way.

The layers of `l2l_omniglot.backbones.heads.convert`, and the stacked ones, ask for the present
pass. Each thread has its own, so threads can share a network.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from l2l_omniglot.errors import BackboneError

# Biased variance over mean, (2, T, channels) for T tasks side by side or (2, 1, channels), of each
# use of each normalisation layer in one forward pass, by ``<layer>/<use>``.
Moments: TypeAlias = dict[str, torch.Tensor]


@dataclass
class Pass:
    """A forward pass, present in the thread for a with-block.

    Attributes:
        given: moments to normalise by, so that no image affects another; None: the batch's own.
        recorded: takes the moments that are normalised by, with their graph, if it is not None.
        features: takes the input of the head, once for each of its uses, if it is not None.
    """

    given: Moments | None = None
    recorded: Moments | None = None
    features: list[torch.Tensor] | None = None
    _uses: Counter[str] = field(default_factory=Counter)
    _before: list[Token[Pass]] = field(default_factory=list)

    def __enter__(self) -> Pass:
        self._before.append(_PRESENT.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _PRESENT.reset(self._before.pop())

    @property
    def plain(self) -> bool:
        """Returns whether layers just normalise by their batch."""
        return self.given is None and self.recorded is None

    def recall(self, layer: str) -> torch.Tensor | None:
        """Returns the moments (2, T, channels) that a layer is to use now; None: the batch's."""
        if self.given is None:
            return None
        key = f"{layer}/{self._uses[layer]}"
        self._uses[layer] += 1
        if key not in self.given:
            raise BackboneError(
                f"the batch normalisation layer {layer!r} is used more often than in the pass "
                "that recorded its statistics"
            )
        return self.given[key]

    def note(self, layer: str, moments: torch.Tensor) -> torch.Tensor:
        """Records moments of a layer's batch, if asked for; returns them."""
        if self.recorded is not None:
            self.recorded[f"{layer}/{self._uses[layer]}"] = moments
            self._uses[layer] += 1
        return moments

    def see(self, features: torch.Tensor) -> None:
        """Notes the input of the head, if asked for."""
        if self.features is not None:
            self.features.append(features)


_PRESENT: ContextVar[Pass] = ContextVar("pass", default=Pass())  # noqa: B039 - never changed


def present() -> Pass:
    """Returns this thread's pass; outside any, one that normalises by the batch."""
    return _PRESENT.get()
