"""The figures, by name, in the order of the report. A new figure is a file here and a line in the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.report.figures.picture import Picture

__all__ = ["FIGURES"]

FIGURES: Index[Picture[Any]] = Index(
    "FIGURES",
    {
        "accuracy": "flowprune.report.figures.accuracy:PICTURE",
        "tradeoff": "flowprune.report.figures.tradeoff:PICTURE",
        "flow": "flowprune.report.figures.flow:PICTURE",
        "cuts": "flowprune.report.figures.cuts:PICTURE",
        "agreement": "flowprune.report.figures.agreement:PICTURE",
        "layers": "flowprune.report.figures.layers:PICTURE",
    },
)
