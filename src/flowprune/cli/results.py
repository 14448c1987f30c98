"""The table of results on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flowprune.cli.tables import grid

if TYPE_CHECKING:
    from rich.table import Table

    from flowprune.report.results import Latency, Result
    from flowprune.report.spread import Spread

WIDTH = 140
"""Columns where there is no terminal."""
SHOWN = ("seed", "prune", "prune.measure", "prune.rounds", "prune.sparsity", "model.name", "data.name", "name")
"""Fields that the table tells apart, or that do not change a run."""


def print_results(runs: Path | Sequence[Path], console: Console | None = None) -> None:
    """Print a table for each data set and model among the finished runs, and what else they differ in."""
    from flowprune.experiments.axes import differing
    from flowprune.experiments.folder import folders
    from flowprune.experiments.store import read
    from flowprune.report import table

    console = console or wide()
    studies: dict[tuple[str, str], list[Result]] = {}
    for result in table(read(runs, "result")):
        studies.setdefault((result.dataset, result.model), []).append(result)
    for (dataset, model), results in studies.items():
        console.print(_table(f"{model} on {dataset}", results))
    roots = [runs] if isinstance(runs, Path) else runs
    found = [folder.spec for root in roots for folder in folders(root) if folder.finished]
    for path, values in differing(found).items():
        if path not in SHOWN:
            console.print(f"Runs differ in {path} ({', '.join(map(str, values))}); means are over all of them.")


def wide() -> Console:
    """The terminal; where there is none, lines as long as the table needs."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _table(title: str, results: Sequence[Result]) -> Table:
    threads = next((each.latency.threads for each in results if each.latency), None)
    latency = f"{threads} thread{'' if threads == '1' else 's'}" if threads else "not measured"
    made = grid(
        title, "measure", "rounds", "test accuracy %", "n", "parameters", "mult-adds", "bytes", "ms", "ms dense"
    )
    made.caption_justify = "left"
    made.caption = (
        "test accuracy: of the last epoch, mean ± standard deviation over n seeds; mult-adds: of one example's forward "
        f"pass (1 multiply-add = 2 FLOPs); bytes: of the weights on disk; ms: median time of one batch, {latency}."
    )
    for each in results:
        made.add_row(
            each.measure,
            str(each.rounds),
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
