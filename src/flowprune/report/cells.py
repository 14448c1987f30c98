"""The cells of the table of results, written out once for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.results import Result
from flowprune.report.spread import Spread
from flowprune.report.wording import compact, figures, plain

COLUMNS = (
    "measure",
    "rounds",
    "n",
    "test accuracy %, final epoch",
    "test accuracy %, selected on validation",
    "final against dense",
    "parameters",
    "multiply-adds",
    "bytes on disk",
    "latency, dense → pruned, ms",
)


NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Cell:
    """The main text of a cell, and smaller lines below it.

    Example:
        >>> str(Cell("6.18 k", ("÷ 10.5", "± 363")))
        '6.18 k (÷ 10.5, ± 363)'
    """

    main: str
    small: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.main} ({', '.join(self.small)})" if self.small else self.main


def cells(result: Result) -> tuple[Cell, ...]:
    """One :class:`Cell` for each of :data:`COLUMNS`."""
    return (
        Cell(plain(result.measure), (result.setting,) if result.setting else ()),
        Cell(str(result.rounds) if result.rounds else "–"),
        Cell(str(result.runs)),
        _share(result.final, result.runs),
        _share(result.selected, result.runs),
        _verdict(result.verdict),
        _parameters(result),
        _size(result.multiply_adds, result.multiply_adds_dense),
        _size(result.bytes, result.bytes_dense, "B"),
        _latency(result),
    )


def shown(lines: Sequence[Sequence[Cell]]) -> tuple[int, ...]:
    """The columns in which anything was recorded; all where there is no line.

    Example:
        >>> shown([(Cell("dense"), Cell("not recorded")), (Cell("magnitude"), Cell("not recorded"))])
        (0,)
    """
    return tuple(i for i in range(len(COLUMNS)) if not lines or any(_told(line, i) for line in lines))


def _told(line: Sequence[Cell], index: int) -> bool:
    return index < len(line) and line[index].main != NOT_RECORDED


def _share(value: Spread | None, runs: int) -> Cell:
    if value is None:
        return Cell(NOT_RECORDED)
    main = f"{100 * value.mean:.2f}" + (f" ± {100 * value.std:.2f}" if value.std is not None else "")
    return Cell(main, (f"n = {value.n}",) if value.n == 1 or value.n != runs else ())


def _verdict(words: str) -> Cell:
    main, _, small = words.partition(", ")
    return Cell(main, (small,) if small else ())


def _size(value: Spread | None, dense: float | None, unit: str = "") -> Cell:
    if value is None:
        return Cell(NOT_RECORDED)
    main = compact(value.mean)
    if unit:
        main += unit if main[-1].isalpha() else f" {unit}"
    ratio = dense / value.mean if dense and value.mean else None
    small = (f"÷ {figures(ratio)}",) if ratio is not None and abs(ratio - 1) > 1e-9 else ()
    return Cell(main, (*small, f"± {compact(value.std)}") if value.std else small)


def _parameters(result: Result) -> Cell:
    """Parameters; where many are zero, as under weight masks, how many are not."""
    cell = _size(result.parameters, result.parameters_dense)
    if result.parameters is None or result.nonzeros is None or result.nonzeros.mean > 0.9 * result.parameters.mean:
        return cell
    return Cell(cell.main, (*cell.small, f"{compact(result.nonzeros.mean)} not zero"))


def _latency(result: Result) -> Cell:
    pruned, dense = result.latency, result.latency_dense
    if pruned is None:
        return Cell(NOT_RECORDED)
    if dense is None or result.rounds == 0:
        return Cell(figures(pruned.median), _iqr(pruned.iqr))
    small = (f"÷ {figures(dense.median / pruned.median)}",) if pruned.median else ()
    both = dense.iqr is not None and pruned.iqr is not None
    ranges = (f"IQR {figures(dense.iqr or 0.0, 2)} → {figures(pruned.iqr or 0.0, 2)}",) if both else ()
    return Cell(f"{figures(dense.median)} → {figures(pruned.median)}", small + ranges)


def _iqr(value: float | None) -> tuple[str, ...]:
    return () if value is None else (f"IQR {figures(value, 2)}",)


def conditions(results: Sequence[Result]) -> str:
    """Under what conditions the latencies were measured, in one line.

    Example:
        >>> conditions([])
        'Latency was not recorded.'
    """
    found = sorted({(r.latency.batch, r.latency.threads) for r in results if r.latency is not None})
    if not found:
        return "Latency was not recorded."
    where = "; ".join(f"batch {batch}, {threads} thread{'' if threads == '1' else 's'}" for batch, threads in found)
    return f"Latency: median of one forward pass in ms with its interquartile range (IQR), medians over runs; {where}."
