"""How sure a network's predictions are: figures found on validation tasks; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l2l_omniglot.errors import check_number, refused

WAYS = 2, 5, 10, 20  # that distances are measured at, and shots
SHOTS = 5, 1


@dataclass(frozen=True)
class Certainty:
    """Makes probabilities honest, and says what belongs to no class.

    Attributes:
        temperature: above 0; logits are divided by it, so that of predictions with probability p
            a share p is right (Guo et al. 2017, "On calibration of modern neural networks").
        distances: above 0, a row for each of `WAYS` and a column for each of `SHOTS`; see
            `distance`.

    Raises:
        SettingsError: if one is not above 0, or there are more or fewer of them.
    """

    temperature: float
    distances: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, above=0)
        object.__setattr__(self, "distances", tuple(map(tuple, self.distances)))
        shape = np.shape(self.distances)
        if shape != (len(WAYS), len(SHOTS)):
            reason = f"has shape {shape}; expected {(len(WAYS), len(SHOTS))}"
            raise refused("distances", self.distances, reason)
        check_number("distances", float(np.min(self.distances)), above=0)

    def distance(self, ways: int, shots: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Returns how far right queries are from their class's mean: a squared distance.

        In validation tasks 98.5 to 99.2 % of the queries that are classified right stay within it,
        the more, the farther those of other classes are. Between the ways measured it is linear in
        their logarithm, beyond them constant. Of a class with n support images it is (1 + 1/n)
        times a number, as both the query's own deviation and that of the mean count; that number is
        linear in 1/n.

        Args:
            ways: classes of the task.
            shots: support images of classes, any shape.
        """
        columns = np.transpose(self.distances)
        at = [np.interp(np.log(ways), np.log(WAYS), column) for column in columns]
        share = 1 / np.asarray(shots, dtype=np.float64)
        return (1 + share) * np.interp(share, [1 / n for n in SHOTS], at)
