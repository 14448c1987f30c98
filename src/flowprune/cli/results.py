"""The table of results on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flowprune.cli.tables import grid, wide

if TYPE_CHECKING:
    from rich.table import Table

    from flowprune.report.results import Latency, Result
    from flowprune.report.spread import Spread

COLUMNS = ("rounds", "removed", "test accuracy %", "n", "parameters", "mult-adds", "bytes", "ms", "ms dense")


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
    for (dataset, model), results in studies.items():
        console.print(_table(f"{model} on {dataset}", results))


def _table(title: str, results: Sequence[Result]) -> Table:
    threads = next((each.latency.threads for each in results if each.latency), None)
    latency = f"{threads} thread{'' if threads == '1' else 's'}" if threads else "not measured"
    told = any(each.setting for each in results)
    made = grid(title, "measure", *(["setting"] if told else []), *COLUMNS)
    made.caption_justify = "left"
    made.caption = (
        "test accuracy: of the last epoch, mean ± standard deviation over n seeds; mult-adds: of one example's forward "
        f"pass (1 multiply-add = 2 FLOPs); bytes: of the weights on disk; ms: median time of one batch, {latency}."
    )
    for each in results:
        made.add_row(
            each.measure,
            *([each.setting] if told else []),
            str(each.rounds),
            f"{each.sparsity:g} {each.granularity}".strip(),
            _accuracy(each.final),
            str(each.runs),
            *(_size(value) for value in (each.parameters, each.multiply_adds, each.bytes)),
            _time(each.latency),
            _time(each.latency_dense),
        )
    return made


def _accuracy(value: Spread | None) -> str:
    if value is None:
        return "-"
    spread = "(n = 1)" if value.std is None else f"± {100 * value.std:.2f}"
    return f"{100 * value.mean:.2f} {spread}"


def _size(value: Spread | None) -> str:
    return "-" if value is None else f"{value.mean:,.0f}"


def _time(value: Latency | None) -> str:
    return "-" if value is None else f"{value.median:.3f}"
