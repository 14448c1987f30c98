"""``flowprune collect``: rows of finished runs, merged into an archive that is small enough to keep and to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Sources = Annotated[list[Path], typer.Argument(help="Folders of run folders, or other archives.")]
Into = Annotated[Path, typer.Option("--into", help="The archive: a folder, made where it is new.")]


def collect(runs: Sources, into: Into) -> None:
    """Merge the finished runs of RUNS into an archive: specs, environments and rows, no weights. Known runs stay."""
    from flowprune.experiments.archive import Archive
    from flowprune.experiments.machine import require_writable
    from flowprune.experiments.store import records

    require_writable("--into", into, folder=True)
    merged = Archive(into).merge(records(runs))
    typer.echo(f"{len(merged.added)} runs added to {into}, {len(merged.known)} known before.")
