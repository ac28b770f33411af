"""Published figures: what the papers of the algorithms have, under their own protocols."""

from __future__ import annotations

from typing import NamedTuple

from l2l_omniglot.experiments.protocols import PROTOCOLS, SETTINGS


class Figure(NamedTuple):
    """An accuracy of a paper.

    Attributes:
        by: whose, and in which mode of batch normalisation.
        accuracy: in percent.
        interval: half of the 95 % interval, in percentage points; 0 if none was published.
    """

    by: str
    accuracy: float
    interval: float

    def __str__(self) -> str:
        interval = f" ± {self.interval:g}" if self.interval else ""
        return f"{self.accuracy:g}{interval} % ({self.by})"


# By protocol and algorithm: the paper, and accuracy and interval of 5w1s, 5w5s, 20w1s and 20w5s,
# None where it has none.
_FIGURES: dict[tuple[str, str], tuple[str, tuple[tuple[float, float] | None, ...]]] = {
    ("snell", "protonet"): ("Snell et al. 2017", ((98.8, 0), (99.7, 0), (96.0, 0), (98.9, 0))),
    ("finn", "maml"): ("Finn et al. 2017", ((98.7, 0.4), (99.9, 0.1), (95.8, 0.3), (98.9, 0.2))),
    ("finn", "fomaml"): (
        "Nichol et al. 2018", ((98.3, 0.5), (99.2, 0.2), (89.4, 0.5), (97.9, 0.1)),
    ),
    ("finn", "meta-sgd"): (
        "Li et al. 2017", ((99.53, 0.26), (99.93, 0.09), (95.93, 0.38), (98.97, 0.19)),
    ),
    ("finn", "anil"): ("Raghu et al. 2020", (None, None, (96.2, 0.5), (98.0, 0.3))),
    ("finn", "reptile"): (
        "Nichol et al. 2018", ((97.68, 0.04), (99.48, 0.06), (89.43, 0.14), (97.12, 0.32)),
    ),
    # By gradient descent, which ours is; Hessian-free they reach more.
    ("finn", "imaml"): (
        "Rajeswaran et al. 2019", ((99.16, 0.35), (99.67, 0.12), (94.46, 0.42), (98.69, 0.1)),
    ),
    # Of an ensemble of five.
    ("maml++", "maml++"): (
        "Antoniou et al. 2019", ((99.47, 0), (99.93, 0), (97.65, 0), (99.33, 0)),
    ),
}  # fmt: skip


def published_figure(protocol: str, algorithm: str, setting: str) -> Figure | None:
    """Returns what an algorithm's paper has for a setting under a protocol, if it has that."""
    entry = _FIGURES.get((protocol, algorithm))
    if entry is None:
        return None
    by, figures = entry
    figure = dict(zip(SETTINGS, figures, strict=True))[setting]
    return figure and Figure(f"{by}, {PROTOCOLS[protocol].batch_norm}", *figure)
