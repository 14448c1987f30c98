"""What accuracy by epoch shows."""

from __future__ import annotations

from collections.abc import Mapping

from flowprune.report.shapes.accuracy import Accuracy
from flowprune.report.shapes.curves import Curve
from flowprune.report.shapes.runs import Config, reference
from flowprune.report.spread import Spread, distinct
from flowprune.report.wording import accuracy, cut_in, joined


def say(records: Accuracy) -> str:
    """Which measure ended highest at each number of rounds, and whether its lead exceeds the spread."""
    dense = {curve.config: curve for curve in records.curves if curve.config.dense}
    found = [part for rounds in records.rounds if rounds and (part := _best(records, rounds, dense))]
    found += [f"{_trained(curve)} ended at {accuracy(curve.last, count=True)}." for curve in dense.values()]
    return " ".join(found) or "No curve ended."


def _trained(dense: Curve) -> str:
    return f"Dense training ({dense.config.words})" if dense.config.setting else "Dense training"


def _best(records: Accuracy, rounds: int, dense: Mapping[Config, Curve]) -> str:
    ranked = sorted((curve for curve in records.panel(rounds) if not curve.config.dense), key=lambda c: -c.last.mean)
    if not ranked:
        return ""
    best = ranked[0]
    words = f"Cut in {cut_in(rounds)}, {best.config.name} ended highest at {accuracy(best.last)}"
    against = reference(best.config, dense)
    if against is not None:
        words += f", {_gap(best.last, against.last)}"
    if len(ranked) > 1:
        words += f"; {_lead(ranked)}"
    return words + "."


def _gap(best: Spread, dense: Spread) -> str:
    points = 100 * (best.mean - dense.mean)
    size = f"{abs(points):.1f} points {'above' if points > 0 else 'below'} dense"
    return f"{size} ({_word(distinct(best, dense))})"


def _lead(ranked: list[Curve]) -> str:
    """How far the lead reaches: how many followers are within the spread of the best."""
    best, rest = ranked[0], ranked[1:]
    verdicts = [distinct(best.last, other.last) for other in rest]
    if None in verdicts:
        return "with one seed the spread is unknown, so no ranking is claimed"
    if all(verdicts):
        return f"it leads {'all others' if len(rest) > 1 else rest[0].config.name} beyond the spread over seeds"
    beaten = [c.config.name for c, apart in zip(rest, verdicts, strict=True) if apart]
    if not beaten:
        return "its lead over the others is within the spread"
    near = len(rest) - len(beaten)
    others = f"the other {near}" if near > 1 else "the other one"
    return f"it leads {joined(beaten)} beyond the spread over seeds, {others} within it"


def _word(apart: bool | None) -> str:
    return {None: "spread unknown", True: "beyond the spread", False: "within the spread"}[apart]


def caption(records: Accuracy) -> str:
    """What is drawn, and how."""
    n = sorted({value.n for curve in records.curves for value in curve.values})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    band = "band: ± one sample standard deviation" if n[-1] > 1 else "one seed, so no band"
    return (
        f"Lines: mean {records.split} accuracy over seeds ({seeds}); {band}. The same dense runs stand in every panel."
        " “Within the spread” means that two means differ by less than √(s₁² + s₂²)."
    )
