"""The table of results as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.cells import COLUMNS, cells, conditions
from flowprune.report.comparisons import comparisons
from flowprune.report.results import UNIT, table
from flowprune.report.values import Row, kind


def markdown(rows: Sequence[Row]) -> str:
    """The table of :func:`~flowprune.report.results.table` as GitHub Markdown, one table for each comparison.

    Example:
        >>> row = {"kind": "result", "dataset": "digits", "model": "small", "measure": "dense", "seed": 0,
        ...        "test_accuracy_final": 0.975, "parameters": 61450}
        >>> print(markdown([row]).splitlines()[4][:73])
        | dense | – | 1 | 97.50 (n = 1) | not recorded | the reference | 61.5 k |
    """
    return "\n\n".join(
        _comparison(comparison.title, comparison.rows) for comparison in comparisons(kind(rows, "result"))
    )


def _comparison(title: str, rows: Sequence[Row]) -> str:
    results = table(rows)
    numeric = range(1, len(COLUMNS))
    rule = ["---:" if index in numeric else "---" for index in range(len(COLUMNS))]
    body = [[str(cell) for cell in cells(result)] for result in results]
    lines = ["| " + " | ".join(line) + " |" for line in [list(COLUMNS), rule, *body]]
    notes = f"Mean ± sample standard deviation over n seeds. Multiply-adds: {UNIT}. {conditions(results)}"
    return "\n".join([f"**{title}**", "", *lines, "", notes])
