"""``flowprune sweep``: many runs, over the product of axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.cli.options import DataDir, Jobs, Runs
from flowprune.cli.run import Preset, Settings, SpecFile, configured
from flowprune.core.errors import invalid

NEITHER = "That holds neither an archive nor run folders."

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
Kept = Annotated[
    Path | None, typer.Option("--archive", help="An archive, or run folders, whose runs are not done again.")
]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say which runs would be done, and do none.")]
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
    dry_run: Dry = False,
) -> None:
    """Do many runs in local processes; finished ones are skipped, interrupted ones go on."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.results import print_results

    use_data_dir(data_dir)
    specs = chosen(planned(spec, preset, study, axis or [], settings or []), only or [])
    if archive is not None:
        specs = _without(specs, archive)
    if study is not None:
        specs = _not_answered(specs, runs)
    if dry_run:
        _tell(specs, runs)
    if dry_run or not specs:
        return
    result = run_all(specs, runs, jobs, jobs_per_device)
    if result.finished:
        print_results([folder.path for folder in result.finished])
    if result.failed:
        raise typer.Exit(1)


def _without(specs: Sequence[Spec], archive: Path) -> list[Spec]:
    """The runs whose question the archive or the run folders do not answer.

    Raises:
        ValueError: what is there is neither.
    """
    from flowprune.experiments.store import answered

    if not archive.exists():
        typer.echo(f"{archive} is not there: no run is in it.", err=True)
        return list(specs)
    found = answered(archive)
    if not found and not any(archive.glob("**/spec.json")):
        raise invalid("--archive", "an archive or a folder of run folders", str(archive), NEITHER)
    left = [each for each in specs if each.question not in found]
    typer.echo(f"{len(specs) - len(left)} of {len(specs)} runs are in {archive}.")
    return left


def _not_answered(specs: Sequence[Spec], runs: Path) -> list[Spec]:
    """Of a study, the runs but those that finished ones in ``runs`` answer, computed in another way."""
    from flowprune.experiments.store import answered

    found = answered(runs)
    left = [each for each in specs if each.question not in found or (runs / each.run_id / "DONE").exists()]
    if len(left) < len(specs):
        count = len(specs) - len(left)
        typer.echo(f"{count} of {len(specs)} runs are answered in {runs} by runs computed in another way.")
    return left


def _tell(specs: Sequence[Spec], runs: Path) -> None:
    """The runs that would be done, as cells with their seeds."""
    from flowprune.experiments.folder import RunFolder
    from flowprune.experiments.study import cells

    folders = {each.run_id: RunFolder(runs / each.run_id) for each in specs}
    left = [each for each in specs if not folders[each.run_id].finished or folders[each.run_id].damaged()]
    if not left:
        typer.echo("No run would be done.")
        return
    typer.echo(f"{len(left)} run{'' if len(left) == 1 else 's'} would be done:")
    for name, seeds in cells(left).items():
        typer.echo(f"  {name}: seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}")


def planned(
    path: Path | None, preset: str | None, study: str | None, axis: Sequence[str], settings: list[str]
) -> list[Spec]:
    """The runs of a study, or of one spec over axes.

    Raises:
        ValueError: more than one of them was named, or axes beside a study.
    """
    from flowprune.experiments.axes import assignments, distinct, expand, parse_axis
    from flowprune.experiments.spec import override
    from flowprune.experiments.studies import STUDIES

    if study is None:
        axes = distinct("--axis", (parse_axis(text) for text in axis))
        fields = (*axes, *(text.partition("=")[0] for text in settings))
        distinct("--set with --axis", ((field, None) for field in fields))
        return expand(configured(path, preset, settings), axes)
    if path is not None or preset is not None or axis:
        raise invalid("--study", "given without SPEC.toml, --preset and --axis", study, "A study has its own.")
    changes = assignments("--set", settings, many="The runs of a study differ in what its file says.")
    return [override(spec, changes) for spec in STUDIES[study].specs]


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
        there = (f"{path} is one of: {_values(specs, path)}" for path in wanted)
        raise invalid("--only", "such that some run is left", ", ".join(only), f"Here {'; '.join(there)}.")
    return found


def _values(specs: Sequence[Spec], path: str) -> str:
    """The values of a field that occur, in order."""
    from flowprune.experiments.telling import field_of

    found = dict.fromkeys(str(field_of(spec, path)) for spec in specs)
    return ", ".join(sorted(found, key=lambda value: (not value.isdigit(), value.zfill(9) if value.isdigit() else "")))


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
