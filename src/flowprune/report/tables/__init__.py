"""The tables of the report, by name, in its order. A new table is a file here and a line in the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.report.tables.grid import Table

__all__ = ["TABLES"]

TABLES: Index[Table] = Index(
    "TABLES",
    {
        "accuracy": "flowprune.report.tables.accuracy:TABLE",
        "gradient_norm": "flowprune.report.tables.gradient_norm:TABLE",
        "sizes": "flowprune.report.tables.sizes:TABLE",
        "collapse": "flowprune.report.tables.collapse:TABLE",
        "preservation": "flowprune.report.tables.preservation:TABLE",
    },
)
