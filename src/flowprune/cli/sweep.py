"""``flowprune sweep``: many runs, over the product of axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.cli.options import DataDir, Jobs, Runs
from flowprune.cli.run import Preset, Settings, SpecFile, configured

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec
    from flowprune.experiments.sweeping import Sweep

Axes = Annotated[
    list[str] | None,
    typer.Option("--axis", help="A field and its values, such as --axis seed=0,1,2. Repeatable: the product is run."),
]


def sweep(
    spec: SpecFile = None,
    preset: Preset = None,
    axis: Axes = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    jobs: Jobs = None,
    runs: Runs = Path("runs"),
) -> None:
    """Do many runs in local processes; finished ones are skipped, interrupted ones go on."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.results import print_results
    from flowprune.experiments.axes import distinct, expand, parse_axis

    use_data_dir(data_dir)
    axes = distinct("--axis", (parse_axis(text) for text in axis or []))
    distinct(
        "--set with --axis", ((field, None) for field in (*axes, *(text.partition("=")[0] for text in settings or [])))
    )
    specs = expand(configured(spec, preset, settings or []), axes)
    result = run_all(specs, runs, jobs)
    if result.finished:
        print_results([folder.path for folder in result.finished])
    if result.failed:
        raise typer.Exit(1)


def run_all(specs: Sequence[Spec], runs: Path, jobs: int | None) -> Sweep:
    """The runs with a progress display; then, the machine being quiet, their latencies."""
    from flowprune.cli.progress import Progress
    from flowprune.experiments.latency import measure
    from flowprune.experiments.machine import require_writable
    from flowprune.experiments.sweeping import sweep as run_sweep

    require_writable("--runs", runs, folder=True)
    with Progress(specs) as progress:
        result = run_sweep(specs, runs, jobs=jobs, listen=progress.hear)
    measure(result.finished)
    for run, error in result.failed.items():
        typer.secho(f"run {run} failed: {error}", fg="red", err=True)
    return result
