"""What is found of the founding paper's observations on one model: records, without arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from flowprune.analysis.short_training import ShortTraining

Verdict = Literal["holds", "does not hold", "undecided"]
Value = str | int | float | None


@dataclass(frozen=True)
class Observation:
    """One observation, tested.

    Attributes:
        number: 1 to 5, as in the paper.
        title: A word or two.
        claim: What the paper says.
        statistic: The number that decides, in words; above 0 speaks for the claim.
        formula: The same as a formula; S is the number of steps, L_s the training loss of a step, ρ Spearman's
            correlation over units.
        value: Mean over seeds; None where no seed gave a finite number.
        low: Lower end of the confidence interval, None for n < 2.
        high: Upper end.
        n: Seeds that gave a finite number.
        verdict: "holds" where the whole interval is above 0, "does not hold" where it is below; "undecided" where it
            reaches 0, or where a seed gave no finite number. None for n < 2, and where the claim speaks of no
            unit of the model; the advice says why.
        diverged: Seeds in which a short training that the statistic needs met a loss that is not finite.
        details: Secondary numbers by name, each the mean over the seeds in which it is finite.
        advice: What follows for the choice of a measure.
    """

    number: int
    title: str
    claim: str
    statistic: str
    formula: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    verdict: Verdict | None
    diverged: int
    details: Mapping[str, float]
    advice: str

    @property
    def interval(self) -> str:
        """The interval as it is printed, "–" where there is none.

        Example:
            >>> Observation(1, "", "", "", "", 0.5, 0.25, 0.75, 5, "holds", 0, {}, "").interval
            '[0.25, 0.75]'
        """
        return "–" if self.low is None or self.high is None else f"[{self.low:.3g}, {self.high:.3g}]"

    def __str__(self) -> str:
        """Three lines: the verdict on the claim, the number, the advice."""
        value = "no number" if self.value is None else f"{self.value:.3g}"
        return (
            f"{self.number} {self.title}: {self.verdict or 'no verdict'}. Claim: {self.claim}\n"
            f"  {self.statistic}: {value} {self.interval}, n = {self.n}\n"
            f"  {self.advice}"
        )


@dataclass(frozen=True)
class Observations:
    """The five observations on one model, data and training state, and how they were tested.

    Attributes:
        observations: In the paper's order.
        granularity: What a unit is, in the word that specs use.
        units: How many units there were that could be cut.
        sparsity: The fraction of them removed in every cut.
        seeds: How many seeds were asked for.
        training: The short training after each cut.
        confidence: Of each interval by itself; nothing is corrected for there being five of them.
    """

    observations: tuple[Observation, ...]
    granularity: str
    units: int
    sparsity: float
    seeds: int
    training: ShortTraining
    confidence: float

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def to_rows(self) -> list[dict[str, Value]]:
        """One flat, JSON-able mapping per observation; details are ``detail_NAME``, what is not finite is None."""
        setting: dict[str, Value] = {
            "granularity": self.granularity,
            "units": self.units,
            "sparsity": self.sparsity,
            "seeds": self.seeds,
            "confidence": self.confidence,
            **asdict(self.training),
        }
        return [{"kind": "observation", **_flat(each), **setting} for each in self.observations]

    def __str__(self) -> str:
        """The setting in a line, and three lines for each observation."""
        setting = (
            f"{self.sparsity:.0%} of {self.units:,} {self.granularity} cut, {self.training.steps} steps at learning "
            f"rate {self.training.learning_rate:g}; {self.confidence:.0%} intervals over {self.seeds} seeds"
        )
        return "\n".join([setting, *map(str, self.observations)])


def _flat(observation: Observation) -> dict[str, Value]:
    fields: dict[str, Value] = {
        name: value for name, value in vars(observation).items() if name not in ("details", "advice")
    }
    details = {f"detail_{name}": _finite(value) for name, value in observation.details.items()}
    return {**fields, "advice": observation.advice, **details}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
