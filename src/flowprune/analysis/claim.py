"""A claim that a model can contradict: what it says, and the statistic that decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowprune.analysis.observation import Verdict
from flowprune.analysis.probe import Probe


@dataclass(frozen=True)
class Claim:
    """An observation of the paper, and how it is tested on a model.

    Attributes:
        number: As in the paper.
        title: A word or two.
        claim: What the paper says.
        statistic: The number that decides, in words.
        formula: The same as a formula.
        value: That number, of one seed; NaN where a short training diverged, or scores have no order.
        details: Secondary numbers of one seed.
        advice: What follows, by verdict.
        remark: A sentence or two beside it, from the mean of the statistic and the means of the details.
        moot: Why the claim speaks of no unit of this model, from the means of the details; None where it does.
        trainings: The cuts whose short trainings the statistic needs; ``"none"`` is the uncut model's.
    """

    number: int
    title: str
    claim: str
    statistic: str
    formula: str
    value: Callable[[Probe], float]
    details: Callable[[Probe], Mapping[str, float]]
    advice: Mapping[Verdict, str]
    remark: Callable[[float, Mapping[str, float]], str]
    moot: Callable[[Mapping[str, float]], str | None] = lambda details: None
    trainings: tuple[str, ...] = ()

    def diverged(self, probe: Probe) -> bool:
        """Whether a short training that the statistic needs diverged."""
        return any(probe.moved is None if name == "none" else probe.courses[name].diverged for name in self.trainings)
