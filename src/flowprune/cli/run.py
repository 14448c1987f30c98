"""``flowprune run``: one run, from a file or a preset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.cli.options import DataDir, Runs
from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec

SpecFile = Annotated[Path | None, typer.Argument(metavar="[SPEC.toml]", help="What to run.")]
Preset = Annotated[str | None, typer.Option("--preset", help="Instead of a file: a name of: flowprune list presets.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A field of the spec, such as --set prune.rounds=1. Repeatable.")
]


def run(
    spec: SpecFile = None,
    preset: Preset = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
) -> None:
    """Do one run, or go on with it where it was interrupted."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.progress import Progress
    from flowprune.cli.results import print_results
    from flowprune.experiments.job import run as run_job
    from flowprune.experiments.latency import measure
    from flowprune.experiments.machine import require_writable

    use_data_dir(data_dir)
    chosen = configured(spec, preset, settings or [])
    require_writable("--runs", runs, folder=True)
    with Progress([chosen]) as progress:
        folder = run_job(chosen, runs, listen=progress.hear)
    measure([folder])
    print_results(folder.path)
    typer.echo(f"Run: {folder.path}")


def configured(path: Path | None, preset: str | None, settings: list[str]) -> Spec:
    """The spec of a file or a preset, with fields set on the command line.

    Raises:
        ValueError: neither or both were named, or a field is not one.
    """
    from flowprune.experiments.axes import assignments
    from flowprune.experiments.presets import PRESETS
    from flowprune.experiments.spec import override, read

    if (path is None) == (preset is None):
        raise invalid("SPEC.toml", "given, or --preset NAME instead", (path and str(path), preset))
    base = read(path) if path is not None else PRESETS[str(preset)]
    return override(base, assignments("--set", settings, many="For many values, use: flowprune sweep --axis"))
