"""What a forward pass makes and no inner step changes, as the features of ANIL's body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Made = TypeVar("Made")


class Kept:
    """Makes a thing once for the objects that it is made of.

    Args:
        stays: whether inner steps leave it as it is; else nothing is kept.
    """

    def __init__(self, stays: bool) -> None:
        self._stays = stays
        self._made: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def once(self, make: Callable[[], Made], *of: Any) -> Made | None:
        """Returns what was made of these very objects; None if nothing is kept."""
        if not self._stays:
            return None
        key = (torch.is_grad_enabled(), *map(id, of))
        if key not in self._made:
            self._made[key] = make(), of  # with `of`, so that no other object has its identity
        made: Made = self._made[key][0]
        return made

    def clear(self) -> None:
        """Forgets all."""
        self._made.clear()
