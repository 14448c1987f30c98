"""What the founding paper says, held against stored rows: claim by claim, with intervals over seeds."""

from __future__ import annotations

from flowprune.report.reproduction.case import Case
from flowprune.report.reproduction.claim import Claim
from flowprune.report.reproduction.claims import CLAIMS
from flowprune.report.reproduction.page import markdown

__all__ = ["CLAIMS", "Case", "Claim", "markdown"]
