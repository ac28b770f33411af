"""How sure a network's predictions are: figures found on validation tasks; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from l2l_omniglot.errors import check_number


@dataclass(frozen=True)
class Certainty:
    """Makes probabilities honest, and says what belongs to no class.

    Attributes:
        temperature: above 0; logits are divided by it, so that of predictions with probability p
            a share p is right (Guo et al. 2017, "On calibration of modern neural networks").
        distance: above 0; squared distance of embeddings. A query of a class with n support
            images that is classified right stays within (1 + 1/n) times it of their mean, 98.5 % of
            the time: both its own deviation and that of the mean grow so.

    Raises:
        SettingsError: if one is not above 0.
    """

    temperature: float
    distance: float

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, above=0)
        check_number("distance", self.distance, above=0)
