"""The claims of the founding paper that stored rows can bear on, each with a statistic that is positive where it holds.

Statements, shapes and orderings are those of the paper's five observations, its first figure and table, and one figure
that could be read off; no accuracy of the paper is a target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowprune.report.reproduction.case import Case, case, difference
from flowprune.report.reproduction.reading import (
    BIASED,
    INCREASE,
    INCREASE_1,
    LOSS,
    MAGNITUDE,
    PRESERVATION,
    BySeed,
    Cell,
    Method,
    among,
    cells,
    dense,
    mean,
    only,
)
from flowprune.report.values import Row, number, text, whole

Cases = list[Case]


@dataclass(frozen=True)
class Claim:
    """Something the paper says.

    Attributes:
        name: Short.
        says: What the paper says.
        statistic: What is computed, positive where that holds.
        unit: Of the statistic.
        cases: The statistic in every setting that the rows hold.
    """

    name: str
    says: str
    statistic: str
    unit: str
    cases: Callable[[Sequence[Row]], Cases]


def _compared(a: Method, b: Method, value: Callable[[Cell, Method], BySeed]) -> Callable[[Sequence[Row]], Cases]:
    """A - b, seed by seed, in every cell."""

    def compute(rows: Sequence[Row]) -> Cases:
        found = (case(each.where, difference(value(each, a), value(each, b))) for each in cells(rows))
        return [each for each in found if each is not None]

    return compute


def _final(each: Cell, method: Method) -> BySeed:
    """Final test accuracy, in points."""
    values = each.value(method, "result", only("test_accuracy_final"))
    return {seed: 100.0 * value for seed, value in values.items()}


def _speed(each: Cell, method: Method) -> BySeed:
    """Mean training accuracy over the epochs after the last cut, in points."""
    last = {seed: max(whole(row, "epoch") for row in rows) for seed, rows in each.of(method, "cut").items()}
    found: BySeed = {}
    for seed, rows in each.of(method, "epoch").items():
        after = [row for row in rows if whole(row, "epoch") > last.get(seed, 0)]
        value = mean(after, "train_accuracy")
        if value is not None:
            found[seed] = 100.0 * value
    return found


def _first_cut(each: Cell, method: Method) -> BySeed:
    """The measured change of loss at the first cut."""
    return each.value(method, "cut", lambda rows: number(among(rows, round=1)[0], "measured_loss_change"))


def _early(each: Cell, method: Method) -> BySeed:
    """The share kept of the first third of the layers less that of the others, after the last cut, in points."""

    def gap(rows: Sequence[Row]) -> float | None:
        last = [row for row in rows if whole(row, "round") == each.rounds]
        shares = [(number(row, "kept") or 0.0) / (number(row, "units") or 1.0) for row in last]
        first = len(shares) // 3
        if not first:
            return None
        return 100.0 * (sum(shares[:first]) / first - sum(shares[first:]) / (len(shares) - first))

    return each.value(method, "layer", gap)


def _correlation(at: Callable[[list[Row]], float | None]) -> Callable[[Sequence[Row]], Cases]:
    """A statistic of the global correlation of magnitude and loss preservation by epoch, of each dense run."""

    def compute(rows: Sequence[Row]) -> Cases:
        found: list[Case | None] = []
        for where, seeds in dense(rows, "correlation").items():
            picked = {s: among(own, a="magnitude", b="loss_preservation", layer="") for s, own in seeds.items()}
            values = {s: v for s, own in picked.items() if own and (v := at(_by_epoch(own))) is not None}
            found.append(case(where, values))
        return [each for each in found if each is not None]

    return compute


def _by_epoch(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: whole(row, "epoch"))


def _spearman(row: Row) -> float:
    return number(row, "spearman") or 0.0


def _settled(of: str) -> Callable[[Sequence[Row]], Cases]:
    """0.1 less the mask distance to the mask before, at the first record after the first fall of the learning rate."""

    def compute(rows: Sequence[Row]) -> Cases:
        drops = {where: _drop(seeds) for where, seeds in dense(rows, "epoch").items()}
        found: list[Case | None] = []
        for where, seeds in dense(rows, "mask_distance").items():
            values: BySeed = {}
            for seed, own in seeds.items():
                later = [row for row in among(own, of=of, to="previous") if whole(row, "epoch") > drops.get(where, 0)]
                distance = number(_by_epoch(later)[0], "distance") if later else None
                if distance is not None:
                    values[seed] = 0.1 - distance
            found.append(case(where, values))
        return [each for each in found if each is not None]

    return compute


def _drop(seeds: dict[str, list[Row]]) -> int:
    """The last epoch at the first learning rate."""
    rows = _by_epoch(next(iter(seeds.values())))
    first = number(rows[0], "learning_rate")
    return max(whole(row, "epoch") for row in rows if number(row, "learning_rate") == first)


def _aligned(temperature: float) -> Callable[[Sequence[Row]], Cases]:
    """Spearman's correlation of θ·g and θ·Hg over units, at each moment after the first."""

    def compute(rows: Sequence[Row]) -> Cases:
        found: list[Case | None] = []
        for where, seeds in dense(rows, "scatter").items():
            moments = sorted({whole(row, "epoch") for own in seeds.values() for row in own})
            for epoch in moments:
                picked = {s: among(own, epoch=epoch, temperature=temperature) for s, own in seeds.items()}
                values = {seed: _spearman(own[0]) for seed, own in picked.items() if own}
                found.append(case(f"{where}, epoch {epoch}", values))
        return [each for each in found if each is not None]

    return compute


def _flow(rows: Sequence[Row]) -> Cases:
    """One per cent less the median relative error of E4 along the run, of each dense run."""
    found: list[Case | None] = []
    for key, formula in (("velocity", "E3"), ("acceleration", "E4")):
        for where, seeds in dense(rows, "flow").items():
            errors = {seed: _median([_error(row, key) for row in own]) for seed, own in seeds.items()}
            values = {seed: 1.0 - 100.0 * error for seed, error in errors.items()}
            found.append(case(f"{formula}, {where}", values))
    return [each for each in found if each is not None]


def _error(row: Row, key: str) -> float:
    predicted, measured = number(row, key) or 0.0, number(row, f"measured_{key}") or 0.0
    return abs(predicted - measured) / abs(measured) if measured else 0.0


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _signs(key: str) -> Callable[[Sequence[Row]], Cases]:
    """The share of cuts whose change has the predicted sign, less one half, in points."""

    def compute(rows: Sequence[Row]) -> Cases:
        found: list[Case | None] = []
        for name in dict.fromkeys((text(r, "model"), text(r, "dataset")) for r in rows if r.get("kind") == "cut"):
            seeds: dict[str, list[bool]] = {}
            for row in among(rows, kind="cut", model=name[0], dataset=name[1]):
                a, b = number(row, f"predicted_{key}"), number(row, f"measured_{key}")
                if a is not None and b is not None:
                    seeds.setdefault(text(row, "seed"), []).append((a > 0) == (b > 0))
            values = {seed: 100.0 * sum(own) / len(own) - 50.0 for seed, own in seeds.items()}
            found.append(case(f"{name[0]} on {name[1]}", values))
        return [each for each in found if each is not None]

    return compute


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "magnitude converges faster",
        "Observation 1, Figure 1: keeping large parameters makes the pruned model's loss fall faster.",
        "mean training accuracy over the epochs after the last cut, magnitude − loss preservation",
        "points",
        _compared(MAGNITUDE, LOSS, _speed),
    ),
    Claim(
        "magnitude ends higher",
        "Table 1: magnitude does better than loss preservation, consistently.",
        "final test accuracy, magnitude − loss preservation",
        "points",
        _compared(MAGNITUDE, LOSS, _final),
    ),
    Claim(
        "the bias helps",
        "Table 1: loss preservation biased to remove small parameters narrows the gap, or wins.",
        "final test accuracy, biased loss − loss preservation",
        "points",
        _compared(BIASED, LOSS, _final),
    ),
    Claim(
        "unrelated before training",
        "Observation 3 and its figure: magnitude and loss preservation hardly correlate at the start (0.1 to 0.2).",
        "0.3 − Spearman's correlation before training",
        "",
        _correlation(lambda rows: 0.3 - _spearman(rows[0])),
    ),
    Claim(
        "related soon",
        "Observation 3 and its figure: the correlation jumps within the first epochs.",
        "Spearman's correlation at the first record − before training",
        "",
        _correlation(lambda rows: _spearman(rows[1]) - _spearman(rows[0]) if len(rows) > 1 else None),
    ),
    Claim(
        "related more and more",
        "Observation 3: they agree more as training goes on.",
        "Spearman's correlation at the end − at the first record",
        "",
        _correlation(lambda rows: _spearman(rows[-1]) - _spearman(rows[1]) if len(rows) > 2 else None),
    ),
    Claim(
        "magnitude masks settle at the drop",
        "The figure of Observation 3: the mask distance falls to near 0 where the learning rate drops.",
        "0.1 − distance of the magnitude mask to the one before, at the first record after the first drop",
        "",
        _settled("magnitude"),
    ),
    Claim(
        "loss-preservation masks settle at the drop",
        "The same, of loss preservation.",
        "0.1 − distance of the loss-preservation mask to the one before, at the first record after the first drop",
        "",
        _settled("loss_preservation"),
    ),
    Claim(
        "first and second order align",
        "Observation 4: Hg is nearly along g, so removing what raises the gradient norm raises the loss.",
        "Spearman's correlation of θ·g and θ·Hg over units at T = 1",
        "",
        _aligned(1.0),
    ),
    Claim(
        "increase raises the loss",
        "Observation 4: increasing the gradient norm removes parameters that raise the loss most.",
        "measured change of loss at the first cut, gradient-norm increase − preservation, both at T = 1",
        "nats",
        _compared(INCREASE_1, PRESERVATION, _first_cut),
    ),
    Claim(
        "increase cuts early layers",
        "It damages early layers.",
        "share kept in the first third of the layers less that in the rest, preservation − increase (T = 200)",
        "points",
        _compared(PRESERVATION, INCREASE, _early),
    ),
    Claim(
        "preservation beats increase (T = 200)",
        "Observation 5: preserving the gradient norm gives better models than increasing it.",
        "final test accuracy, preservation − increase at T = 200",
        "points",
        _compared(PRESERVATION, INCREASE, _final),
    ),
    Claim(
        "preservation beats increase (T = 1)",
        "Observation 5, both at T = 1.",
        "final test accuracy, preservation − increase at T = 1",
        "points",
        _compared(PRESERVATION, INCREASE_1, _final),
    ),
    Claim(
        "the norm moves as predicted",
        "E3 and E4: the first and the second derivative of the squared norm under gradient flow.",
        "1 % − median relative error over the run",
        "%",
        _flow,
    ),
    Claim(
        "the loss changes as predicted",
        "E6: what a cut does to the loss, to first order.",
        "share of cuts with the predicted sign − 50 %",
        "points",
        _signs("loss_change"),
    ),
    Claim(
        "the gradient norm changes as predicted",
        "E7: what a cut does to the squared gradient norm, to first order.",
        "share of cuts with the predicted sign − 50 %",
        "points",
        _signs("gradient_norm2_change"),
    ),
)
"""In the order of the paper."""
