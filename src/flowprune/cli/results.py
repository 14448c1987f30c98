"""The table of results on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flowprune.cli.tables import grid, wide

if TYPE_CHECKING:
    from rich.table import Table

    from flowprune.report.results import Latency, Result
    from flowprune.report.spread import Spread

DROPPED = ("bytes", "ms dense", "mult-adds", "parameters", "ms", "removed")
"""Columns that a narrow terminal goes without, the first of them first; what was removed moves into the title."""


def print_results(runs: Path | Sequence[Path], console: Console | None = None) -> None:
    """Print a table for each data set and model among the finished runs; runs of a line differ in their seed alone."""
    from flowprune.experiments.store import read
    from flowprune.report import table

    console = console or wide()
    studies: dict[tuple[str, str], list[Result]] = {}
    for result in table(read(runs, "result")):
        found = studies.setdefault((result.dataset, result.model), [])
        if result not in found:  # the dense runs come with every sparsity
            found.append(result)
    for index, ((dataset, model), results) in enumerate(studies.items()):
        if index:
            console.print()
        console.print(_fitting(f"{model} on {dataset}", results, console))


def _fitting(title: str, results: Sequence[Result], console: Console) -> Table:
    """The table with as many columns as there is room for: a column cut short tells nothing."""
    made, room = _table(title, results, ()), console.options.update(max_width=10 * console.width)
    for count in range(1, len(DROPPED) + 1):
        if console.measure(made, options=room).maximum <= console.width:
            break
        made = _table(title, results, DROPPED[:count])
    return made


def _columns(results: Sequence[Result], without: Sequence[str]) -> dict[str, Callable[[Result], str]]:
    """Names and contents of the columns after the first; one that no run says anything in is left out."""
    columns: dict[str, Callable[[Result], str]] = {
        "setting": lambda each: each.setting,
        "rounds": lambda each: str(each.rounds),
        "removed": _removed,
        "test accuracy %": lambda each: _accuracy(each.final),
        "n": lambda each: str(each.runs),
        "parameters": lambda each: _size(each.parameters),
        "mult-adds": lambda each: _size(each.multiply_adds),
        "bytes": lambda each: _size(each.bytes),
        "ms": lambda each: _time(each.latency),
        "ms dense": lambda each: _time(each.latency_dense),
    }
    silent = {name for name, tell in columns.items() if all(tell(each) in ("", "-") for each in results)}
    return {name: tell for name, tell in columns.items() if name not in {*silent, *without}}


def _table(title: str, results: Sequence[Result], without: Sequence[str]) -> Table:
    removed = {_removed(each) for each in results if each.sparsity}
    if len(removed) > 1:  # a title cannot tell lines apart
        without = [name for name in without if name != "removed"]
    columns = _columns(results, without)
    made = grid(title + (f", {removed.pop()} removed" if "removed" in without and removed else ""), "measure", *columns)
    made.caption_justify = "left"
    made.caption = _caption(results, columns, without)
    before = results[0]
    for each in results:
        if (each.sparsity, each.granularity, each.rounds) != (before.sparsity, before.granularity, before.rounds):
            made.add_row()
        made.add_row(each.measure, *(tell(each) for tell in columns.values()))
        before = each
    return made


def _caption(results: Sequence[Result], columns: Collection[str], without: Sequence[str]) -> str:
    threads = next((each.latency.threads for each in results if each.latency), None)
    latency = f"{threads} thread{'' if threads == '1' else 's'}"
    words = {
        "mult-adds": "mult-adds: of one example's forward pass (1 multiply-add = 2 FLOPs)",
        "bytes": "bytes: of the weights on disk",
        "ms": f"ms: median time of one batch, {latency}",
    }
    found = [text for name, text in words.items() if name in columns]
    told = [name for name in without if name in ("parameters", "mult-adds", "bytes") or (threads and name == "ms")]
    missing = [f"left out for want of room: {', '.join(told)}"] if told else []
    first = "test accuracy: of the last epoch, mean ± standard deviation over n seeds"
    return "; ".join((first, *found, *([] if threads else ["latency: not measured"]), *missing)) + "."


def _removed(each: Result) -> str:
    return f"{each.sparsity:g} {each.granularity}".strip()


def _accuracy(value: Spread | None) -> str:
    if value is None:
        return "-"
    spread = "(n = 1)" if value.std is None else f"± {100 * value.std:.2f}"
    return f"{100 * value.mean:.2f} {spread}"


def _size(value: Spread | None) -> str:
    return "-" if value is None else f"{value.mean:,.0f}"


def _time(value: Latency | None) -> str:
    return "-" if value is None else f"{value.median:.3f}"
