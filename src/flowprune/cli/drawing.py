"""One figure or table of the report as a file, or as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flowprune.core.errors import invalid, unknown

if TYPE_CHECKING:
    from flowprune.report.evidence import Evidence
    from flowprune.report.needs import Needs

TEXT = ".md"


def needs_of(name: str, out: Path | None) -> tuple[Needs, ...]:
    """What the figure, the table, or both of this name are made from.

    Raises:
        UnknownNameError: there is neither.
        ValueError: the ending of ``out`` is that of the other.
    """
    from flowprune.report.figures import FIGURES
    from flowprune.report.tables import TABLES

    if name not in FIGURES and name not in TABLES:
        raise unknown("report(--figure)", name, {*FIGURES, *TABLES})
    picture, table = wanted(name, out)
    return (*([FIGURES[name].needs] if picture else ()), *([TABLES[name].needs] if table else ()))


def wanted(name: str, out: Path | None) -> tuple[bool, bool]:
    """Whether a figure is to be written, and whether a table: where both have the name, the ending of ``out`` decides.

    Raises:
        ValueError: the ending of ``out`` is that of the other.

    Example:
        >>> wanted("accuracy", None), wanted("accuracy", Path("a.md")), wanted("sizes", None)
        ((True, True), (False, True), (False, True))
    """
    from flowprune.report.figures import FIGURES
    from flowprune.report.tables import TABLES

    if out is None:
        return name in FIGURES, name in TABLES
    text = out.suffix == TEXT
    if text and name not in TABLES:
        raise invalid("report(--out)", "a path that ends in .svg or .png, for a figure", str(out))
    if not text and name not in FIGURES:
        raise invalid("report(--out)", "a path that ends in .md, for a table", str(out))
    return not text, text


def draw(evidence: Evidence, name: str, out: Path | None) -> None:
    """Write the figure or table ``name``; a table without ``out`` is printed, a figure without it is ``NAME.svg``.

    Raises:
        ValueError: the rows carry nothing of it, or an ending that is neither's.
    """
    from flowprune.report.figures.writing import write_figures
    from flowprune.report.setting import pooled
    from flowprune.report.tables.writing import table_of, write_table

    picture, table = wanted(name, out)
    for note in pooled(evidence):
        typer.echo(note, err=True)
    if picture:
        for each in write_figures(evidence.rows, name, out or Path(f"{name}.svg")):
            typer.echo(f"Figure: {each.path} ({each.comparison})", err=table)
            for words in (each.sentence, each.caption, *each.notes):
                typer.echo(f"  {words}", err=table)
    if table and out is None:
        typer.echo(table_of(evidence.rows, name).markdown())
    elif table and out is not None:
        typer.echo(f"Table: {write_table(evidence.rows, name, out)}")
