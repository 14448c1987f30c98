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
        "convergence": "flowprune.report.figures.convergence:PICTURE",
        "tradeoff": "flowprune.report.figures.tradeoff:PICTURE",
        "depth": "flowprune.report.figures.depth:PICTURE",
        "gradient_norm": "flowprune.report.figures.gradient_norm:PICTURE",
        "layers": "flowprune.report.figures.layers:PICTURE",
        "correlation": "flowprune.report.figures.correlation:PICTURE",
        "agreement": "flowprune.report.figures.agreement:PICTURE",
        "orders": "flowprune.report.figures.orders:PICTURE",
        "flow": "flowprune.report.figures.flow:PICTURE",
        "training_flow": "flowprune.report.figures.training_flow:PICTURE",
        "cuts": "flowprune.report.figures.cuts:PICTURE",
        "when": "flowprune.report.figures.when:PICTURE",
        "preservation": "flowprune.report.figures.preservation:PICTURE",
    },
)
