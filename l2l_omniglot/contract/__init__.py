"""Checks a backbone against its contract: what it keeps, what it breaks, and what to do."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.registry import package_of
from l2l_omniglot.contract.candidate import Candidate, Check
from l2l_omniglot.contract.gradients import GRADIENTS
from l2l_omniglot.contract.output import OUTPUT
from l2l_omniglot.contract.tasks import TASKS
from l2l_omniglot.contract.weights import WEIGHTS
from l2l_omniglot.errors import L2LOmniglotError

CHECKS: tuple[Check, ...] = (*OUTPUT, *GRADIENTS, *TASKS, *WEIGHTS)
PASSED, FAILED, NOT_TRIED = "passed", "failed", "not tried"


@dataclass(frozen=True)
class Finding:
    """What came of a check.

    Attributes:
        check: its name.
        required: whether a backbone must pass it; else it is advice.
        outcome: ``passed``, ``failed`` or ``not tried`` (another check failed that it needs).
        reason: of the outcome; may be empty where it passed.
        fix: what to do about it; empty where it passed.
    """

    check: str
    required: bool
    outcome: str
    reason: str
    fix: str


@dataclass(frozen=True)
class BackboneReport:
    """All findings on a backbone.

    Attributes:
        backbone: its registered name.
        package: name and version of the distribution it comes from.
        findings: one a check, in their order.
    """

    backbone: str
    package: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> list[str]:
        """Names of the required checks that failed."""
        return [f.check for f in self.findings if f.required and f.outcome == FAILED]


def check_backbone(name: str) -> BackboneReport:
    """Runs a registered backbone through every check, on random images.

    Args:
        name: see `l2l_omniglot.backbones.registry.list_backbones`.

    Raises:
        BackboneError: if there is no backbone of that name; lists those there are.
    """
    package = package_of(name)
    candidate, findings = Candidate(name), list[Finding]()
    with warnings.catch_warnings(), all_random("contract"):
        warnings.simplefilter("ignore")  # a stranger's; what matters is found by the checks
        for check in CHECKS:
            findings.append(_try(check, candidate, findings))
    return BackboneReport(name, package, tuple(findings))


def _try(check: Check, candidate: Candidate, before: list[Finding]) -> Finding:
    missing = [f.check for f in before if f.check in check.needs and f.outcome != PASSED]
    if missing:
        reason = f"needs what did not pass: {', '.join(missing)}"
        return Finding(check.name, check.required, NOT_TRIED, reason, "")
    try:
        note = check.run(candidate) or ""
    except Exception as error:  # a stranger's code may raise anything
        return Finding(check.name, check.required, FAILED, _in_words(error), check.fix)
    return Finding(check.name, check.required, PASSED, note, "")


def _in_words(error: Exception) -> str:
    own = isinstance(error, L2LOmniglotError)
    return str(error) if own else f"{type(error).__name__}: {error}"
