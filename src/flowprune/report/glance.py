"""The few numbers that stand at the head of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flowprune.report.results import Result
from flowprune.report.wording import accuracy, cut_in, figures, plain


@dataclass(frozen=True)
class Tile:
    """A number, what it is, and what it is held against."""

    label: str
    value: str
    note: str


def glance(results: Sequence[Result]) -> tuple[Tile, ...]:
    """Dense accuracy, the best pruned one, and by how much parameters, multiply-adds and latency fell."""
    pruned = [result for result in results if result.rounds]
    dense = next((result for result in results if not result.rounds and result.final), None)
    tiles: list[Tile] = []
    if dense is not None and dense.final is not None:
        note = f"test, final epoch, n = {dense.final.n}" + _setting(dense)
        tiles.append(Tile("Dense accuracy", accuracy(dense.final), note))
    ranked = sorted((r for r in pruned if r.final), key=lambda r: -(r.final.mean if r.final else 0.0))
    if ranked and ranked[0].final is not None:
        best = ranked[0]
        name = f"{plain(best.measure)}{_setting(best)}, {cut_in(best.rounds)}; {best.verdict}"
        tiles.append(Tile("Best pruned accuracy", accuracy(ranked[0].final), name))
    ratios: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
        ("Parameters", lambda r: _ratio(r.parameters_dense, r.parameters and r.parameters.mean)),
        ("Multiply-adds", lambda r: _ratio(r.multiply_adds_dense, r.multiply_adds and r.multiply_adds.mean)),
        ("Latency", lambda r: _ratio(r.latency_dense and r.latency_dense.median, r.latency and r.latency.median)),
    )
    return (*tiles, *(tile for label, ratio in ratios if (tile := _range(label, map(ratio, pruned)))))


def _setting(result: Result) -> str:
    return f", {result.setting}" if result.setting else ""


def _ratio(before: float | None, after: float | None) -> float | None:
    return before / after if before and after else None


def _range(label: str, ratios: Iterable[float | None]) -> Tile | None:
    known = sorted(ratio for ratio in ratios if ratio is not None)
    if not known:
        return None
    low, high = figures(known[0], 2), figures(known[-1], 2)
    return Tile(label, f"÷ {low}" if low == high else f"÷ {low} to {high}", "pruned against dense")
