"""``flowprune sweep``: many runs, over the product of axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.cli.options import DataDir, Jobs, Runs
from flowprune.cli.run import Preset, Settings, SpecFile, configured
from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec
    from flowprune.experiments.sweeping import Sweep

Axes = Annotated[
    list[str] | None,
    typer.Option("--axis", help="A field and its values, such as --axis seed=0,1,2. Repeatable: the product is run."),
]


Study = Annotated[
    str | None, typer.Option("--study", help="Instead of a file: the runs of a name of: flowprune list studies.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="Of these, the runs with a field's values, such as --only seed=0,1. Repeatable."),
]
Kept = Annotated[Path | None, typer.Option("--archive", help="An archive whose runs are not done again.")]
PerDevice = Annotated[
    int | None, typer.Option("--jobs-per-device", min=1, help="Instead of --jobs: processes on each CUDA device.")
]


def sweep(  # noqa: PLR0913, PLR0917, each argument is an option of the command
    spec: SpecFile = None,
    preset: Preset = None,
    study: Study = None,
    axis: Axes = None,
    settings: Settings = None,
    only: Only = None,
    archive: Kept = None,
    data_dir: DataDir = None,
    jobs: Jobs = None,
    jobs_per_device: PerDevice = None,
    runs: Runs = Path("runs"),
) -> None:
    """Do many runs in local processes; finished ones are skipped, interrupted ones go on."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.results import print_results
    from flowprune.experiments.archive import Archive

    use_data_dir(data_dir)
    specs = chosen(planned(spec, preset, study, axis or [], settings or []), only or [])
    if archive is not None:
        answered = {record.spec.question for record in Archive(archive).records}
        typer.echo(f"{sum(each.question in answered for each in specs)} of {len(specs)} runs are in {archive}.")
        specs = [each for each in specs if each.question not in answered]
    if not specs:
        return
    result = run_all(specs, runs, jobs, jobs_per_device)
    if result.finished:
        print_results([folder.path for folder in result.finished])
    if result.failed:
        raise typer.Exit(1)


def planned(
    path: Path | None, preset: str | None, study: str | None, axis: Sequence[str], settings: list[str]
) -> list[Spec]:
    """The runs of a study, or of one spec over axes.

    Raises:
        ValueError: more than one of them was named, or axes beside a study.
    """
    from flowprune.experiments.axes import distinct, expand, parse_axis
    from flowprune.experiments.spec import override
    from flowprune.experiments.studies import STUDIES

    if study is None:
        axes = distinct("--axis", (parse_axis(text) for text in axis))
        fields = (*axes, *(text.partition("=")[0] for text in settings))
        distinct("--set with --axis", ((field, None) for field in fields))
        return expand(configured(path, preset, settings), axes)
    if path is not None or preset is not None or axis:
        raise invalid("--study", "given without SPEC.toml, --preset and --axis", study, "A study has its own.")
    changes = distinct("--set", (parse_axis(text, option="--set") for text in settings))
    return [override(spec, {field: value for field, (value, *_) in changes.items()}) for spec in STUDIES[study].specs]


def chosen(specs: Sequence[Spec], only: Sequence[str]) -> list[Spec]:
    """The specs whose fields have one of the values asked for.

    Raises:
        ValueError: none has.
    """
    from flowprune.experiments.axes import distinct, parse_axis
    from flowprune.experiments.telling import field_of

    wanted = distinct("--only", (parse_axis(text, option="--only") for text in only))
    found = [spec for spec in specs if all(field_of(spec, path) in values for path, values in wanted.items())]
    if specs and not found:
        raise invalid("--only", "such that some run is left", ", ".join(only), "See flowprune list studies --details.")
    return found


def run_all(specs: Sequence[Spec], runs: Path, jobs: int | None, jobs_per_device: int | None = None) -> Sweep:
    """The runs with a progress display; then, the machine being quiet, their latencies."""
    from flowprune.cli.progress import Progress
    from flowprune.experiments.latency import measure
    from flowprune.experiments.machine import require_writable
    from flowprune.experiments.sweeping import sweep as run_sweep

    require_writable("--runs", runs, folder=True)
    with Progress(specs) as progress:
        result = run_sweep(specs, runs, jobs=jobs, jobs_per_device=jobs_per_device, listen=progress.hear)
    measure(result.finished)
    for run, error in result.failed.items():
        typer.secho(f"run {run} failed: {error}", fg="red", err=True)
    return result
