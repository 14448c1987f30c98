"""What each cut was predicted to change (E6, E7), beside what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowprune.report.ranks import spearman
from flowprune.report.shapes.runs import Config, config
from flowprune.report.values import Row, finite, kind, number
from flowprune.report.wording import percent


@dataclass(frozen=True)
class Cut:
    """One cut: the share of the units present that it removed, the predicted change and the measured one."""

    config: Config
    share: float | None
    predicted: float
    measured: float


@dataclass(frozen=True)
class Cuts:
    """Changes of the loss (E6) and of the squared gradient norm (E7)."""

    loss: tuple[Cut, ...]
    gradient: tuple[Cut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """How predictions fit: rank correlation, equal signs, median |predicted − measured| / |measured|."""

    n: int
    rank: float | None
    same_sign: float
    median_error: float


def cuts(rows: Sequence[Row]) -> Cuts | None:
    """The records of ``kind="cut"`` that have a predicted and a measured change, or None.

    Example:
        >>> row = {"kind": "cut", "measure": "magnitude", "rounds": 1, "units_before": 8, "units_after": 6,
        ...        "predicted_loss_change": 0.1, "measured_loss_change": 0.3}
        >>> cuts([row]).loss[0].share
        0.25
    """
    found = kind(rows, "cut")
    loss, notes = _read(found, "loss_change")
    gradient, also = _read(found, "gradient_norm2_change")
    return Cuts(loss, gradient, (*notes, *also)) if loss or gradient else None


def _read(rows: Sequence[Row], what: str) -> tuple[tuple[Cut, ...], tuple[str, ...]]:
    predicted, measured = f"predicted_{what}", f"measured_{what}"
    kept, notes = finite(rows, predicted, measured)
    found = tuple(Cut(config(r), _share(r), number(r, predicted) or 0.0, number(r, measured) or 0.0) for r in kept)
    return found, notes


def _share(row: Row) -> float | None:
    before, after = number(row, "units_before"), number(row, "units_after")
    return 1 - after / before if before and after is not None else None


Outcomes = Sequence[tuple[float, float]]
"""A predicted change and the measured one, for each of several cuts."""


@dataclass(frozen=True)
class Skill:
    """How often the predicted sign is right, beside how often it would be by always saying the same.

    Attributes:
        n: How many cuts.
        right: The share of them whose sign was predicted.
        rises: The share of measured changes above 0.
        balanced: Balanced accuracy, the mean of the shares of rises and of falls that were predicted: one half for
            every constant guess; None where all changes have one sign, which a constant guess gets right.
    """

    n: int
    right: float
    rises: float
    balanced: float | None

    @property
    def base(self) -> float:
        """The share that the better constant guess gets right."""
        return max(self.rises, 1.0 - self.rises)

    @property
    def words(self) -> str:
        """``"sign right in 73 % of 48 cuts, always saying “falls” in 85 %"``."""
        guess = "rises" if self.rises >= 0.5 else "falls"
        right, base = (percent(share, 0) for share in (self.right, self.base))
        return f"sign right in {right} of {self.n} cuts, always saying “{guess}” in {base}"


def skill(found: Outcomes) -> Skill:
    """How well signs are predicted; there must be a cut.

    Example:
        >>> skill([(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, -1.0)])     # "rises", whatever the cut
        Skill(n=4, right=0.75, rises=0.75, balanced=0.5)
        >>> skill([(1.0, 2.0)]).balanced is None
        True
    """
    rises = [a > 0 for a, b in found if b > 0]
    falls = [a <= 0 for a, b in found if b <= 0]
    both = [sum(side) / len(side) for side in (rises, falls) if side]
    right = (sum(rises) + sum(falls)) / len(found)
    balanced = sum(both) / 2 if len(both) == 2 else None
    return Skill(len(found), right, len(rises) / len(found), balanced)


def fit(found: Sequence[Cut]) -> Fit | None:
    """How predictions fit; None without cuts that changed anything.

    Example:
        >>> one = Config(1, "magnitude")
        >>> fit([Cut(one, 0.5, 1.0, 2.0), Cut(one, 0.5, 2.0, 4.0), Cut(one, 0.5, 3.0, 6.0)])
        Fit(n=3, rank=1.0, same_sign=1.0, median_error=0.5)
    """
    usable = [cut for cut in found if cut.measured != 0]
    if not usable:
        return None
    predicted = np.asarray([cut.predicted for cut in usable])
    measured = np.asarray([cut.measured for cut in usable])
    return Fit(
        n=len(usable),
        rank=spearman(predicted.tolist(), measured.tolist()),
        same_sign=float(np.mean(np.sign(predicted) == np.sign(measured))),
        median_error=float(np.median(np.abs(predicted - measured) / np.abs(measured))),
    )


def by_size(found: Sequence[Cut]) -> tuple[float, list[Cut], list[Cut]] | None:
    """The median share removed, the cuts below it, and those at or above it; None where all are alike.

    Example:
        >>> one = Config(1, "magnitude")
        >>> middle, small, big = by_size([Cut(one, share, 1.0, 1.0) for share in (0.1, 0.2, 0.75)])
        >>> middle, len(small), len(big)
        (0.2, 1, 2)
    """
    shares = [cut.share for cut in found if cut.share is not None]
    if len(set(shares)) < 2:
        return None
    middle = float(np.median(shares))
    if middle <= min(shares):
        middle = min(share for share in shares if share > min(shares))
    small = [cut for cut in found if cut.share is not None and cut.share < middle]
    return middle, small, [cut for cut in found if cut.share is not None and cut.share >= middle]
