"""A table by name, as Markdown or as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowprune.core.errors import invalid
from flowprune.report.tables import TABLES
from flowprune.report.tables.grid import Grid
from flowprune.report.values import Row


def table_of(rows: Sequence[Row], name: str) -> Grid:
    """The table ``name`` of :data:`~flowprune.report.tables.TABLES` for the rows of any number of comparisons.

    Raises:
        ValueError: ``rows`` carry nothing of it.
        UnknownNameError: there is no such table.
    """
    table = TABLES[name]
    grid = table.of(rows)
    if grid is None:
        raise table.needs.missing("table_of(rows=)", sorted({str(row.get("kind")) for row in rows}))
    return grid


def write_table(rows: Sequence[Row], name: str, path: Path | str) -> Path:
    """Write a table as GitHub Markdown; the same rows give the same bytes.

    Raises:
        ValueError: ``path`` does not end in ``.md``; and see :func:`table_of`.
    """
    path = Path(path)
    if path.suffix != ".md":
        raise invalid("write_table(path=)", "a path that ends in .md", str(path))
    text = table_of(rows, name).markdown()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return path
