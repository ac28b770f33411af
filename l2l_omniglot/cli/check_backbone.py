"""``l2l-omniglot check-backbone``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from l2l_omniglot.contract import BackboneReport, Finding

_RESULTS = {
    ("passed", True): "passed", ("passed", False): "passed",
    ("failed", True): "FAILED", ("failed", False): "advice",
    ("not tried", True): "not tried", ("not tried", False): "not tried",
}  # fmt: skip


@click.command("check-backbone", short_help="Try out a network of your own.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_backbone(name: str, as_json: bool) -> None:
    """Try out whether the backbone NAME keeps the contract, on random images.

    Prints what passes and what does not, why, and what to do about it. Exit code 5 if a check
    fails that is required; advice does not count.
    """
    from l2l_omniglot.contract import check_backbone as check
    from l2l_omniglot.errors import BackboneError

    report = check(name)
    click.echo(_json(report) if as_json else _text(report))
    if report.broken:
        raise BackboneError(f"backbone {name!r} breaks its contract: {', '.join(report.broken)}")


def _json(report: BackboneReport) -> str:
    import dataclasses
    import json

    return json.dumps({**dataclasses.asdict(report), "broken": report.broken})


def _text(report: BackboneReport) -> str:
    from l2l_omniglot.report import table

    rows = [
        (found.check, _result(found), "see below" if found.outcome == "failed" else found.reason)
        for found in report.findings
    ]
    lines = [f"{report.backbone} of {report.package}\n", table(("check", "result", ""), rows)]
    for found in report.findings:
        if found.outcome == "failed":
            lines.append(f"\n{_result(found)}: {found.check}\n  {found.reason}.")
            lines.append(f"  Fix: {found.fix}.")
    return "\n".join(lines)


def _result(found: Finding) -> str:
    return _RESULTS[found.outcome, found.required]
