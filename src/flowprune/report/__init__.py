"""The report: tables and figures from stored rows alone. It runs no model and imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.lazy import lazy

if TYPE_CHECKING:
    from flowprune.report.figures.writing import write_figure as write_figure
    from flowprune.report.gfm import markdown as markdown
    from flowprune.report.page import write as write
    from flowprune.report.results import table as table
    from flowprune.report.tables.writing import write_table as write_table

__all__ = ["markdown", "table", "write", "write_figure", "write_table"]

__getattr__ = lazy(
    __name__,
    {
        "markdown": "flowprune.report.gfm:markdown",
        "table": "flowprune.report.results:table",
        "write": "flowprune.report.page:write",
        "write_figure": "flowprune.report.figures.writing:write_figure",
        "write_table": "flowprune.report.tables.writing:write_table",
    },
)
