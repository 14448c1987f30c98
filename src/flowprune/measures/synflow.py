"""SynFlow: the first-order formula, with the objective R = 1ᵀ f_|θ|(1).

It is loss preservation with another objective, and no data: gather the signals with
``fp.objectives.synaptic_flow()`` and any batch of the input's shape.
"""

from __future__ import annotations

from flowprune.core.source import Source
from flowprune.measures.first_order import parameter_times_gradient
from flowprune.measures.measure import Measure

SYNFLOW = Measure(
    "synflow",
    1,
    ("gradient",),
    "sum",
    "Σ θ·∂R/∂θ, R = 1ᵀ f_|θ|(1)",
    parameter_times_gradient,
    Source(
        "Tanaka, Kunin, Yamins & Ganguli",
        2020,
        "Pruning neural networks without any data by iteratively conserving synaptic flow",
        arxiv="2006.05467",
    ),
    objective="synaptic_flow",
)
