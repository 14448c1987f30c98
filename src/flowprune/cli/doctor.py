"""``flowprune doctor``: what is wrong with an environment, and what to do."""

from __future__ import annotations

from pathlib import Path

import typer

from flowprune.cli.options import DataDir, Runs

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


def doctor(*, runs: Runs = Path("runs"), data_dir: DataDir = None) -> None:
    """Look at Python, PyTorch, the GPU, packages, threads, data and folders; exit code 1 if something is wrong."""
    from flowprune.experiments.diagnosis import diagnose
    from flowprune.experiments.surroundings import survey

    found = diagnose(survey(runs, data_dir))
    for each in found:
        typer.echo(f"{typer.style(f'{each.level:<7}', fg=COLOURS[each.level])}  {each.said}")
        if each.todo:
            typer.echo(f"{'':<7}  {each.todo}")
    problems = sum(each.level == "problem" for each in found)
    if problems:
        typer.secho(f"{problems} problem{'s' if problems > 1 else ''} found.", fg="red")
        raise typer.Exit(1)
    typer.secho("No problem found.", fg="green")
