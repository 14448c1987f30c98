"""``flowprune report``: the page of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[Path, typer.Argument(help="A folder of run folders.")],
    out: Annotated[Path | None, typer.Option("--out", help="By default RUNS/report.html.")] = None,
) -> None:
    """Write a self-contained report.html of the finished runs in RUNS, and print their table."""
    from flowprune.cli.results import print_results
    from flowprune.experiments.machine import require_writable
    from flowprune.report import write

    require_writable("--out", out or runs / "report.html", folder=False)
    print_results(runs)
    typer.echo(f"Report: {write(runs, out or runs / 'report.html')}")
