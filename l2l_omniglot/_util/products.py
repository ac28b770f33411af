"""Matrix products that round alike on every processor, which those of a library do not."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

SPLIT = 2.0**27 + 1  # cuts a float64 into halves whose products are exact


def product(one: Array, other: Array) -> Array:
    """Multiplies (N, 2) by (2, M), as a processor with fused multiply-add does."""
    return fused(one[:, 1:], other[1:], one[:, :1] * other[:1])


def fused(one: Array, other: Array, added: Array) -> Array:
    """Computes one * other + added with the error of the product (Dekker 1971, Knuth's sum)."""
    whole = one * other
    (a, b), (c, d) = _halves(one), _halves(other)
    lost = ((a * c - whole) + a * d + b * c) + b * d
    total = whole + added
    own = total - whole
    found: Array = total + (((whole - (total - own)) + (added - own)) + lost)
    return found


def _halves(value: Array) -> tuple[Array, Array]:
    spread = SPLIT * value
    high = spread - (spread - value)
    return high, value - high
