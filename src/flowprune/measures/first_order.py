"""Order 1: dN/dt = -2 Σ θ·g. What changes the norm slowly changes the loss little when it is removed.

Removing Θ_p changes the loss by -Θ_pᵀg to first order (E6), so its absolute value is half of |d‖Θ_p‖²/dt|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.source import Source
from flowprune.measures.measure import FRAMEWORK, Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def parameter_times_gradient(signals: Signals) -> dict[str, Tensor]:
    """C = θ·g, the negative first-order change of the loss when the weight alone is set to zero.

    Shapes: as the parameters. Units: loss units per weight.
    Assumes: g is the gradient of the mean loss at these parameters.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> theta, g = {"w": torch.tensor([2.0, -1.0])}, {"w": torch.tensor([0.5, 3.0])}
        >>> parameter_times_gradient(Signals(params=theta, gradient=g))["w"]
        tensor([ 1., -3.])
    """
    gradient = signals.require("gradient")
    return {name: signals.params[name] * g for name, g in gradient.items()}


LOSS_PRESERVATION = Measure(
    "loss_preservation",
    1,
    ("gradient",),
    "sum_abs",
    "Σ |θ·g|",
    parameter_times_gradient,
    FRAMEWORK,
    published_as="loss_based",
)
TAYLOR_FIRST_ORDER = Measure(
    "taylor_first_order",
    1,
    ("gradient",),
    "abs_sum",
    "|Σ θ·g|",
    parameter_times_gradient,
    Source(
        "Molchanov, Tyree, Karras, Aila & Kautz",
        2017,
        "Pruning Convolutional Neural Networks for Resource Efficient Inference",
        arxiv="1611.06440",
    ),
    published_as="tfo",
)
