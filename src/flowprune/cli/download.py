"""``flowprune download``: a published data set, fetched and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.cli.options import DataDir
from flowprune.data.origins import ORIGINS

if TYPE_CHECKING:
    from flowprune.data import Download


def download(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(ORIGINS)}.")],
    data_dir: DataDir = None,
) -> None:
    """Download the data set NAME, check it, and unpack it; interrupted, the same command goes on from there."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from flowprune.data import download as download_set

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def hear(progress: Download) -> None:
            if progress.file not in tasks:
                tasks[progress.file] = bars.add_task(progress.file, total=progress.total)
                if not console.is_terminal:
                    typer.echo(f"{progress.file}: {progress.total / 1e6:.1f} MB", err=True)
            bars.update(tasks[progress.file], completed=progress.done)

        folder = download_set(name, data_dir, listen=hear)
    typer.echo(f"{name}: {folder}")
