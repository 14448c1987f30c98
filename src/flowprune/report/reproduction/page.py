"""The claims and what became of them, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.reproduction.case import VERDICTS, Case
from flowprune.report.reproduction.claim import Claim
from flowprune.report.reproduction.claims import CLAIMS
from flowprune.report.values import Row
from flowprune.report.wording import figures


def markdown(rows: Sequence[Row], claims: Sequence[Claim] = CLAIMS) -> str:
    """A summary of all claims, then each with its cases; a claim that the rows say nothing of is named as such."""
    found = [(claim, claim.cases(rows)) for claim in claims]
    head = [f"| claim | {' | '.join(VERDICTS)} |", f"|---|{'---:|' * len(VERDICTS)}"]
    lines = [_line(claim, cases) for claim, cases in found if cases]
    silent = [claim.name for claim, cases in found if not cases]
    parts = ["\n".join([*head, *lines])]
    if silent:
        parts.append(f"No rows bear on: {'; '.join(silent)}.")
    parts += [_section(claim, cases) for claim, cases in found if cases]
    return "\n\n".join(parts) + "\n"


def _line(claim: Claim, cases: Sequence[Case]) -> str:
    counts = (sum(case.verdict == verdict for case in cases) for verdict in VERDICTS)
    return f"| [{claim.name}](#{_anchor(claim.name)}) | {' | '.join(map(str, counts))} |"


def _anchor(name: str) -> str:
    """The anchor that GitHub gives a heading.

    Example:
        >>> _anchor("preservation beats increase (T = 1)")
        'preservation-beats-increase-t--1'
    """
    return "".join("-" if c == " " else c for c in name.lower() if c.isalnum() or c in " -_")


def _section(claim: Claim, cases: Sequence[Case]) -> str:
    unit = f" ({claim.unit})" if claim.unit else ""
    noted = any(case.note for case in cases)
    text = [f"## {claim.name}", "", f"{claim.says} Statistic: {claim.statistic}{unit}.", ""]
    text.append("| where | mean | 95 % interval | n | verdict |" + (" note |" if noted else ""))
    text.append("|---|---:|---:|---:|---|" + ("---|" if noted else ""))
    return "\n".join([*text, *(_row(case) + (f" {case.note} |" if noted else "") for case in cases)])


def _row(case: Case) -> str:
    mean, low, high, n = case.interval
    told = "–" if low is None or high is None else f"{figures(low)} to {figures(high)}"
    return f"| {case.where} | {'–' if mean is None else figures(mean)} | {told} | {n} | {case.verdict} |"
