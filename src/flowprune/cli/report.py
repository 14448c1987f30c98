"""``flowprune report``: the page of finished runs, or one figure or table of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowprune.report.needs import Needs

Named = Annotated[
    str | None,
    typer.Option("--figure", help="One figure or table alone: a name of: flowprune list figures (or tables)."),
]
Asked = Annotated[
    str | None,
    typer.Option("--study", help="First tell which runs of a study are missing: a name of: flowprune list studies."),
]


def report(
    runs: Annotated[Path, typer.Argument(help="A folder of run folders, or an archive.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="By default RUNS/report.html. With --figure: a file that ends in .svg, .png or, for a table, .md.",
        ),
    ] = None,
    figure: Named = None,
    study: Asked = None,
) -> None:
    """Write a self-contained report.html of the finished runs in RUNS, and print their table; or one figure or table.

    A figure goes to NAME.svg, or to one file for each model, data set and sparsity; a table is printed.
    """
    from flowprune.cli.drawing import needs_of
    from flowprune.report.needs import Needs

    asked = (Needs("result"),) if figure is None else needs_of(figure, out)
    if study is not None:
        _missing(study, asked, runs)
    if figure is None:
        _page(runs, out)
    else:
        _one(runs, figure, out)


def _missing(name: str, asked: tuple[Needs, ...], runs: Path) -> None:
    from flowprune.cli.missing import report_missing
    from flowprune.experiments.studies import STUDIES

    report_missing(STUDIES[name], asked, runs, lambda line: typer.echo(line, err=True))


def _one(runs: Path, figure: str, out: Path | None) -> None:
    from flowprune.cli.drawing import draw
    from flowprune.experiments.machine import require_writable
    from flowprune.report.evidence import load

    if out is not None:
        require_writable("--out", out, folder=False)
    draw(load(runs), figure, out)


def _page(runs: Path, out: Path | None) -> None:
    from flowprune.cli.results import print_results
    from flowprune.experiments.machine import require_writable
    from flowprune.report import write

    require_writable("--out", out or runs / "report.html", folder=False)
    print_results(runs)
    typer.echo(f"Report: {write(runs, out or runs / 'report.html')}")
