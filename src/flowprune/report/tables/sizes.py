"""Table: what counts as removed against what is physically gone, where filters are masked and where they are cut."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.needs import Needs
from flowprune.report.results import UNIT
from flowprune.report.shapes.runs import Config, all_rounds, by_config, grouped
from flowprune.report.tables.accuracy import removed
from flowprune.report.tables.grid import MISSING, Cell, Grid, Table
from flowprune.report.values import Row, kind, number, numbers, text, whole
from flowprune.report.wording import compact, figures

TITLE = "Counted and physical size"
COLUMNS = (
    "model",
    "data",
    "removed",
    "measure",
    "units kept",
    "parameters",
    "non-zeros",
    "multiply-adds",
    "multiply-adds of live filters",
)
SIZES = (
    ("parameters", "parameters_dense"),
    ("nonzeros", "parameters_dense"),
    ("multiply_adds", "multiply_adds_dense"),
    ("multiply_adds_live", "multiply_adds_dense"),
)


def sizes(rows: Sequence[Row]) -> Grid | None:
    """The table, or None where no pruned run stored its size.

    Example:
        >>> row = {"kind": "result", "run": "r", "dataset": "digits", "model": "mlp", "rounds": 1, "sparsity": 0.5,
        ...        "measure": "fisher", "parameters": 50, "parameters_dense": 100, "nonzeros": 25}
        >>> found = sizes([row, {**row, "kind": "cut", "round": 1, "units_before": 8, "units_after": 4}])
        >>> [str(cell) for cell in found.lines[0]][3:]
        ['fisher', '4 of 8', '50 (÷ 2.00)', '25 (÷ 4.00)', '–', '–']
    """
    lines: list[tuple[Cell, ...]] = []
    rounds: set[int] = set()
    for comparison in comparisons([row for row in rows if text(row, "measure") not in ("", "dense")]):
        most = max(all_rounds(by_config(kind(comparison.rows, "result"))), default=0)
        found = [line for line in _lines(comparison, most) if any(cell.main != MISSING for cell in line[5:])]
        rounds |= {most} if found else set()
        lines += found
    if not lines:
        return None
    ordered = tuple(sorted(lines, key=lambda line: [cell.main for cell in line[:3]]))
    return Grid(TITLE, COLUMNS, 4, ordered, _note(sorted(rounds)))


def _note(rounds: Sequence[int]) -> str:
    return (
        f"Runs cut in the largest number of rounds ({' or '.join(map(str, rounds))}), means over seeds; ÷: how many"
        " times less than dense. Parameters and multiply-adds are physical: a masked filter is still there. Non-zeros,"
        " and multiply-adds of live filters, count what masks leave: equal to the former where all that was removed is"
        f" gone. Units: groups of filters, or weights, that are kept or removed as one. Multiply-adds: {UNIT}."
    )


def _lines(comparison: Comparison, rounds: int) -> list[tuple[Cell, ...]]:
    cuts = by_config(kind(comparison.rows, "cut"))
    found: list[tuple[Cell, ...]] = []
    for config, own in by_config(kind(comparison.rows, "result")).items():
        if config.rounds == rounds:
            names = (
                Cell(comparison.model),
                Cell(comparison.dataset),
                Cell(_removed(comparison, own)),
                Cell(config.name),
            )
            found.append((*names, _units(config, cuts), *(_size(own, *keys) for keys in SIZES)))
    return found


def _removed(comparison: Comparison, rows: Sequence[Row]) -> str:
    """What share of which units; where a stream of residuals was masked or left alone, that too."""
    forms = {text(row, "residual") for row in rows} - {"", "coupled"}
    return ", ".join((removed(comparison.sparsity, comparison.granularity), *sorted(forms)))


def _units(config: Config, cuts: Mapping[Config, Sequence[Row]]) -> Cell:
    """Units after the last cut, of those before the first."""
    pairs: list[tuple[float, float]] = []
    for own in grouped(cuts.get(config, ()), lambda row: text(row, "run")).values():
        turns = sorted(own, key=lambda row: whole(row, "round"))
        before, after = number(turns[0], "units_before"), number(turns[-1], "units_after")
        if before is not None and after is not None:
            pairs.append((before, after))
    if not pairs:
        return Cell(MISSING)
    before, after = (statistics.fmean(side) for side in zip(*pairs, strict=True))
    return Cell(f"{compact(round(after))} of {compact(round(before))}")


def _size(rows: Sequence[Row], key: str, dense: str) -> Cell:
    values, before = numbers(rows, key), numbers(rows, dense)
    if not values:
        return Cell(MISSING)
    mean = statistics.fmean(values)
    ratio = statistics.fmean(before) / mean if before and mean else None
    return Cell(compact(round(mean)), "" if ratio is None else f"÷ {figures(ratio)}")


TABLE = Table(TITLE, Needs("result", "prune.measure", "--study demo", runs="pruned", most_rounds=True), sizes)
