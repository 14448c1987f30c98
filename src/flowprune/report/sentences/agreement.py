"""What agreement between measures shows."""

from __future__ import annotations

from flowprune.report.shapes.agreement import Agreement, Matrix
from flowprune.report.spread import Spread
from flowprune.report.wording import percent, plain


def say(records: Agreement) -> str:
    """The pair that agrees most and the pair that agrees least."""
    by_rank = bool(records.spearman)
    matrix = records.spearman if by_rank else records.overlap
    pairs = sorted(matrix, key=lambda pair: -matrix[pair].mean)
    most = f"{_pair(pairs[0])} agree most about which units matter ({_value(records, pairs[0])})"
    least = f", {_pair(pairs[-1])} least ({_value(records, pairs[-1])})" if len(pairs) > 1 else ""
    return f"Before the first cut, {most}{least}.{_opposed(matrix) if by_rank else ''}"


def _pair(pair: tuple[str, str]) -> str:
    return f"{plain(pair[0])} and {plain(pair[1])}"


def _value(records: Agreement, pair: tuple[str, str]) -> str:
    rank, both = records.spearman.get(pair), records.overlap.get(pair)
    words = [f"rank correlation {_number(rank)}"] if rank else []
    words += [f"kept sets overlap by {percent(both.mean, 0)}"] if both else []
    return ", ".join(words)


def _number(value: Spread) -> str:
    spread = f" ± {value.std:.2f}" if value.std is not None else ""
    return f"{value.mean:.2f}{spread}".replace("-", "−")


def _opposed(matrix: Matrix) -> str:
    below = sum(value.mean < 0 for value in matrix.values())
    return f" {below} of {len(matrix)} pairs rank units in opposite ways on average." if below else ""


def caption(records: Agreement) -> str:
    """What is compared, when and over what."""
    seeds = sorted({value.n for matrix in (records.spearman, records.overlap) for value in matrix.values()})
    n = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    spread = " ± sample standard deviation" if seeds[-1] > 1 else ", so no spread"
    when = f" after epoch {records.epochs[0]}" if len(records.epochs) == 1 and records.epochs[0] else ""
    return (
        f"Scores of all measures on the same network{when}, before anything is cut. Mean over seeds (n = {n}){spread}."
        " Blue: alike; ochre: opposite; the deeper, the stronger. Overlap: of the units that one measure would keep at"
        f" the final sparsity, the share that the other would keep too{_chance(records)}."
    )


def _chance(records: Agreement) -> str:
    return "" if records.chance is None else f" (two random sets: {percent(records.chance, 0)})"
