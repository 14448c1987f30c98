"""What correlations and mask distances along dense training show."""

from __future__ import annotations

from flowprune.report.shapes.correlation import SETTLED, Correlation, Distance, Pair
from flowprune.report.shapes.curves import Series
from flowprune.report.spread import Spread
from flowprune.report.wording import percent, plain

NAMES = {
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "by_layer": "mean Spearman correlation within layers",
}


def say(records: Correlation) -> str:
    """Each pair's correlation at the start, after it, before the learning rate falls and at the end; then the masks."""
    parts = [_pair(records, pair) for pair in records.pairs]
    moves = [distance for distance in records.distances if distance.to == "previous"]
    settled = "; ".join(_settled(records, distance) for distance in moves)
    if settled:
        at = "" if records.sparsity is None else f" at {percent(records.sparsity, 0)} sparsity"
        parts.append(f"Masks{at}, distance to the one recorded before: {settled}.")
    return " ".join(parts) or "Only distances to the final mask were recorded."


def _pair(records: Correlation, pair: Pair) -> str:
    found = next((key for key in NAMES if getattr(pair, key) is not None), "")
    line: Series | None = getattr(pair, found) if found else None
    if line is None:
        return ""
    values = [f"{number(value)} {words}" for words, value in _moments(records, line)]
    count = f" (n = {max(value.n for value in line.values)})"
    return f"{NAMES[found]} of {plain(pair.a)} and {plain(pair.b)}: {', '.join(values)}{count}."


def _moments(records: Correlation, line: Series) -> list[tuple[str, Spread]]:
    """The values at the first record, the second, the last before the learning rate falls, and the last; each once."""
    first, last = line.epochs[0], line.epochs[-1]
    found = {first: "before training" if first == 0 else f"after epoch {first}"}
    if len(line.epochs) > 1:
        found.setdefault(line.epochs[1], f"after epoch {line.epochs[1]}")
    before = [epoch for epoch in line.epochs if records.drops and epoch <= records.drops[0]]
    if before:
        found.setdefault(before[-1], f"before the learning rate falls (epoch {before[-1]})")
    found.setdefault(last, f"at the end (epoch {last})")
    return [(words, value) for epoch, words in found.items() if (value := line.at(epoch)) is not None]


def _settled(records: Correlation, distance: Distance) -> str:
    """Where the mask stood when the learning rate fell, and whether it stands still from then on."""
    line = distance.series
    at, after = _around(records, line)
    if after is None:
        return f"{plain(distance.measure)} {number(line.last, 3)} at the last record"
    verdict = "near zero" if after.mean <= SETTLED else "still moving"
    start = f"{number(at, 3)} when the learning rate falls, " if at is not None else ""
    return f"{plain(distance.measure)} {start}{number(after, 3)} at the next record ({verdict})"


def _around(records: Correlation, line: Series) -> tuple[Spread | None, Spread | None]:
    """The values at the last record before the learning rate falls, and at the first one after."""
    if not records.drops:
        return None, None
    before = [epoch for epoch in line.epochs if epoch <= records.drops[0]]
    after = [epoch for epoch in line.epochs if epoch > records.drops[0]]
    return line.at(before[-1]) if before else None, line.at(after[0]) if after else None


def number(value: Spread, digits: int = 2) -> str:
    """A mean with its spread.

    Example:
        >>> number(Spread(-0.031, 0.02, 3)), number(Spread(0.5, None, 1), 3)
        ('−0.03 ± 0.02', '0.500')
    """
    spread = f" ± {value.std:.{digits}f}" if value.std is not None else ""
    mean = f"{value.mean:.{digits}f}"
    return (mean[1:] if float(mean) == 0 and mean.startswith("-") else mean).replace("-", "−") + spread


def caption(records: Correlation) -> str:
    """What is drawn, and how."""
    lines = [line for pair in records.pairs for line in (pair.spearman, pair.pearson, pair.by_layer) if line]
    counts = sorted({value.n for line in (*lines, *(d.series for d in records.distances)) for value in line.values})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    band = "band: ± one sample standard deviation" if counts[-1] > 1 else "one seed, so no band"
    return (
        f"Dense training, scores of its units on the same samples at every record; means over seeds ({seeds}); {band}."
        " Within layers: Spearman in each layer, averaged over layers, so that differences between layers do not count."
        " Mask distance: the share of units that one mask keeps and the other does not (normalised Hamming distance)."
        f" “Near zero”: at most {SETTLED:g}."
    )
