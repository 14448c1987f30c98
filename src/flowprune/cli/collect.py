"""``flowprune collect``: rows of finished runs, merged into an archive that is small enough to keep and to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Sources = Annotated[list[Path], typer.Argument(help="Folders of run folders, or other archives.")]
Into = Annotated[Path, typer.Option("--into", help="The archive: a folder, made where it is new.")]


def collect(runs: Sources, into: Into) -> None:
    """Merge the finished runs of RUNS into an archive: specs, environments and rows, no weights. Known runs stay.

    Of runs that answer one question in several ways (device, threads, precision), one is kept. Of runs that stopped
    with an error, it keeps the spec and the message.
    """
    from flowprune.experiments.archive import Archive
    from flowprune.experiments.failures import FAILURES, keep_failures
    from flowprune.experiments.machine import require_writable
    from flowprune.experiments.store import records

    require_writable("--into", into, folder=True)
    merged = Archive(into).merge(records(runs))
    failed = keep_failures(into, runs)
    typer.echo(f"{_runs(len(merged.added))} added to {into}, {len(merged.known)} known before.")
    if merged.answered:
        whose = "its question is" if len(merged.answered) == 1 else "their questions are"
        typer.echo(f"{_runs(len(merged.answered))} left out: {whose} answered there, computed in another way.")
    if failed:
        typer.echo(f"{_runs(failed)} stopped with an error, kept in {into / FAILURES}.")


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"
