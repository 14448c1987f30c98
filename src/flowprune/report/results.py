"""The table of results: one record for each measure, number of rounds and setting."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.shapes.runs import Config, by_config, reference
from flowprune.report.spread import Spread, distinct, spread
from flowprune.report.values import Row, kind, numbers, text
from flowprune.report.wording import signed

UNIT = "multiply-adds of one example's forward pass (1 multiply-add = 2 FLOPs)"


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass. Units: ms. ``median``, ``iqr``: medians over runs of each run's own."""

    median: float
    iqr: float | None
    batch: str
    threads: str


@dataclass(frozen=True)
class Result:
    """What the runs of one measure at one number of rounds, in one setting, came to.

    Attributes:
        dataset, model, sparsity, granularity: The comparison: what share of which units was removed.
        measure, rounds: What chose the units, and in how many cuts; ``("dense", 0)`` for unpruned runs.
        setting: The other fields in which the runs read together differ, such as ``"train.batch=32"``.
        runs: How many runs, which differ in their seed alone, the means are over; ``n`` inside a :class:`Spread` may be
            lower where a run lacks a value.
        final: Test accuracy after the last epoch, a share of one.
        selected: Test accuracy at the epoch of best validation accuracy, a share of one.
        parameters, nonzeros, multiply_adds, bytes: Physical size, how many parameters are not zero, and
            multiply-adds of one example (1 = 2 FLOPs).
        parameters_dense, multiply_adds_dense, bytes_dense: The same before pruning.
        latency, latency_dense: See :class:`Latency`.
        verdict: ``final`` against the dense runs, in words.
    """

    dataset: str
    model: str
    sparsity: float
    granularity: str
    measure: str
    rounds: int
    setting: str
    runs: int
    final: Spread | None
    selected: Spread | None
    parameters: Spread | None
    nonzeros: Spread | None
    multiply_adds: Spread | None
    bytes: Spread | None
    parameters_dense: float | None
    multiply_adds_dense: float | None
    bytes_dense: float | None
    latency: Latency | None
    latency_dense: Latency | None
    verdict: str


def table(rows: Sequence[Row]) -> list[Result]:
    """One record for each measure, number of rounds and setting, dense first, then by rounds and measure.

    Assumes: rows as ``experiments`` stores them; only those of ``kind="result"`` are read. A value that is
    missing or not finite lowers the ``n`` of its own mean and of no other.

    Example:
        >>> rows = [{"kind": "result", "dataset": "digits", "model": "small", "measure": "magnitude", "rounds": 1,
        ...          "sparsity": 0.75, "seed": s, "test_accuracy_final": a} for s, a in ((0, 0.9), (1, 0.8))]
        >>> [(r.measure, r.rounds, round(r.final.mean, 3), r.final.n, r.verdict) for r in table(rows)]
        [('magnitude', 1, 0.85, 2, 'no dense run to compare with')]
    """
    return [result for comparison in comparisons(kind(rows, "result")) for result in _of_comparison(comparison)]


def _of_comparison(comparison: Comparison) -> list[Result]:
    cells = by_config(comparison.rows)
    dense = {each: _mean(rows, "test_accuracy_final") for each, rows in cells.items() if each.dense}
    return [_result(comparison, each, rows, reference(each, dense)) for each, rows in cells.items()]


def _result(comparison: Comparison, cell: Config, rows: Sequence[Row], dense: Spread | None) -> Result:
    final = _mean(rows, "test_accuracy_final")
    return Result(
        dataset=comparison.dataset,
        model=comparison.model,
        sparsity=0.0 if cell.dense else comparison.sparsity,
        granularity="" if cell.dense else comparison.granularity,
        measure=cell.measure,
        rounds=cell.rounds,
        setting=cell.words,
        runs=len(rows),
        final=final,
        selected=_mean(rows, "test_accuracy_selected"),
        parameters=_mean(rows, "parameters"),
        nonzeros=_mean(rows, "nonzeros"),
        multiply_adds=_mean(rows, "multiply_adds"),
        bytes=_mean(rows, "bytes"),
        parameters_dense=_median(rows, "parameters_dense"),
        multiply_adds_dense=_median(rows, "multiply_adds_dense"),
        bytes_dense=_median(rows, "bytes_dense"),
        latency=_latency(rows, ""),
        latency_dense=_latency(rows, "_dense"),
        verdict="the reference" if cell.dense else verdict(final, dense),
    )


def verdict(pruned: Spread | None, dense: Spread | None) -> str:
    """A pruned mean accuracy against the dense one, in words that the spread over seeds supports.

    Example:
        >>> verdict(Spread(0.95, 0.004, 3), Spread(0.98, 0.003, 3))
        '−3.0 points, beyond the spread'
        >>> verdict(Spread(0.978, 0.004, 3), Spread(0.98, 0.003, 3))
        '−0.2 points, within the spread'
    """
    if pruned is None:
        return "no finite accuracy"
    if dense is None:
        return "no dense run to compare with"
    apart = {None: "spread unknown (n = 1)", True: "beyond the spread", False: "within the spread"}
    return f"{signed(100 * (pruned.mean - dense.mean))} points, {apart[distinct(pruned, dense)]}"


def _mean(rows: Sequence[Row], key: str) -> Spread | None:
    values = numbers(rows, key)
    return spread(values) if values else None


def _median(rows: Sequence[Row], key: str) -> float | None:
    values = numbers(rows, key)
    return statistics.median(values) if values else None


def _latency(rows: Sequence[Row], suffix: str) -> Latency | None:
    median = _median(rows, f"latency_ms{suffix}")
    if median is None:
        return None
    return Latency(
        median=median,
        iqr=_median(rows, f"latency_iqr_ms{suffix}"),
        batch="/".join(sorted({text(row, "latency_batch", "?") for row in rows})),
        threads="/".join(sorted({text(row, "latency_threads", "?") for row in rows})),
    )
