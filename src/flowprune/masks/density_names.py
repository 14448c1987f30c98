"""The index of rules for the density of each layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.masks.allocation import Allocation

DENSITIES: Final[Index[Callable[[Any, float], Allocation]]] = Index(
    "DENSITIES",
    {
        "erk": "flowprune.masks.densities:erdos_renyi_kernel",
        "er": "flowprune.masks.densities:erdos_renyi",
        "uniform": "flowprune.masks.densities:uniform",
        "uniform_plus": "flowprune.masks.densities:uniform_plus",
    },
)
"""``DENSITIES[name](shapes, density)``: shapes by name, or a model; see :mod:`flowprune.masks.densities`."""
