"""Protocols: on which tasks the papers test, by name; docs/evaluation.md cites their code."""

from __future__ import annotations

from dataclasses import dataclass

ROTATED = ("none", "classes", "each")
OURS, LAKE = "ours", "lake"
SETTINGS = {"5w1s": (5, 1), "5w5s": (5, 5), "20w1s": (20, 1), "20w5s": (20, 5)}  # ways, shots


@dataclass(frozen=True)
class Protocol:
    """How test tasks are made and scored; what is empty or None is asked for, or as trained."""

    split: str = ""
    rotated: str = "none"  # see `l2l_omniglot.data.tasks.Tasks`: rotations, or rotate_each
    queries: int | None = None  # a class; 0: as many as shots
    tasks: int | None = None
    batch_norm: str = ""
    about: str = ""


PROTOCOLS: dict[str, Protocol] = {
    OURS: Protocol(about="random tasks of the test classes as they are"),
    "snell": Protocol(
        "vinyals", "classes", 15, 1000, "inductive", "Snell et al. 2017, prototypical networks"
    ),
    "finn": Protocol("random", "each", 0, 600, "transductive", "Finn et al. 2017, MAML"),
    "maml++": Protocol("maml++", "none", 1, 600, "transductive", "Antoniou et al. 2019, MAML++"),
    LAKE: Protocol("alphabets", about="Lake et al. 2015, the one-shot runs (20-way)"),
}
