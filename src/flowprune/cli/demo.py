"""``flowprune demo``: the main job in small, on data that comes with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprune.cli.options import Jobs


def demo(
    runs: Annotated[Path, typer.Option("--runs", help="Where the run folders and the report go.")] = Path("runs/demo"),
    jobs: Jobs = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 3,
) -> None:
    """Train a small network on digits, prune it early in several ways, compare, and write report.html."""
    from flowprune.cli.results import print_results
    from flowprune.cli.sweep import run_all
    from flowprune.experiments.demo import require_own, specs
    from flowprune.experiments.machine import require_writable
    from flowprune.report import write

    require_writable("--runs", runs, folder=True)
    require_own(runs)
    planned = specs(seeds=seeds)
    typer.echo(f"{len(planned)} runs: dense, and five measures at 1 and 5 rounds, {seeds} seeds each. In {runs}.")
    result = run_all(planned, runs, jobs)
    if result.failed:
        raise typer.Exit(1)
    print_results([folder.path for folder in result.finished])
    typer.echo(f"Report: {write(runs, runs / 'report.html')}")
