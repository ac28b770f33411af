"""Checks a backbone against its contract, clause by clause, and says how to fix what fails.

The checks are in ``output``, ``gradients``, ``tasks``, ``conversion`` and ``weights``;
``candidate`` builds the backbone for them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.registry import package_of
from l2l_omniglot.contract import (  # noqa: F401 (fill CHECKS)
    conversion,
    gradients,
    output,
    tasks,
    weights,
)
from l2l_omniglot.contract.candidate import CHECKS, Candidate, Check
from l2l_omniglot.errors import L2LOmniglotError

PASSED, FAILED, UNCLEAR = "passed", "failed", "unclear"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        required: whether a backbone must pass it; otherwise it is advice.
        outcome: ``passed``, ``failed`` or ``unclear``: it failed, perhaps only because a check
            that it needs did not pass.
        reason: for the outcome; may be empty if it passed.
        fix: how to repair the backbone; empty if it passed.
        after: the checks that it needs and that did not pass.
    """

    check: str
    required: bool
    outcome: str
    reason: str
    fix: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackboneReport:
    """All findings on a backbone.

    Attributes:
        backbone: its registered name.
        package: name and version of the distribution it comes from.
        findings: one per check, in order.
    """

    backbone: str
    package: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> list[str]:
        """Returns the names of the required checks that failed."""
        return [f.check for f in self.findings if f.required and f.outcome == FAILED]


def check_backbone(name: str) -> BackboneReport:
    """Runs every check on a registered backbone, with random images.

    Args:
        name: see `l2l_omniglot.backbones.registry.list_backbones`.

    Raises:
        BackboneError: if there is no backbone of that name; lists the registered ones.
    """
    package = package_of(name)
    candidate, findings = Candidate(name), list[Finding]()
    with warnings.catch_warnings(), all_random("contract"):
        warnings.simplefilter("ignore")  # the backbone's own; the checks find what matters
        for check in CHECKS:
            findings.append(_try(check, candidate, findings))
    return BackboneReport(name, package, tuple(findings))


def _try(check: Check, candidate: Candidate, before: list[Finding]) -> Finding:
    needs = [name for name in check.needs if name not in candidate.got_round]
    after = tuple(f.check for f in before if f.check in needs and f.outcome != PASSED)
    try:
        return Finding(check.name, check.required, PASSED, check.run(candidate) or "")
    except L2LOmniglotError as error:
        reason = str(error)
    except Exception as error:  # a foreign backbone may raise anything
        reason = f"{type(error).__name__}: {error}"
    outcome = UNCLEAR if after else FAILED
    return Finding(check.name, check.required, outcome, reason, check.fix, after)
