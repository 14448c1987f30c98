"""Order 1 before training: θ·g of one round after the other, and of other objectives than the loss.

With a mask m that multiplies the weights, ∂L/∂m at the mask that holds is θ·g. SNIP cuts its smallest absolute values
in one round, so it is loss preservation of single weights. What follows differs in when g is taken, and of what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.source import Source
from flowprune.measures.first_order import parameter_times_gradient
from flowprune.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def magnitude_times_absolute_gradient(signals: Signals) -> dict[str, Tensor]:
    """C = |θ| · E_B|g_B|, the mean over batches of |θ·g_B|: signs of batches do not cancel.

    Shapes: as the parameters. Units: loss units per weight.
    Assumes: batches as given; with one batch it is |θ·g|.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> theta, g = {"w": torch.tensor([-2.0])}, {"w": torch.tensor([3.0])}
        >>> magnitude_times_absolute_gradient(Signals(params=theta, absolute_gradient=g))["w"]
        tensor([6.])
    """
    gradient = signals.require("absolute_gradient")
    return {name: signals.params[name].abs() * g for name, g in gradient.items()}


_FORCE = Source(
    "de Jorge, Sanyal, Behl, Torr, Rogez & Dokania",
    2021,
    "Progressive Skeletonization: Trimming more fat from a network at initialization",
    arxiv="2006.09081",
)
_MISSING_THE_MARK = Source(
    "Frankle, Dziugaite, Roy & Carbin",
    2021,
    "Pruning Neural Networks at Initialization: Why Are We Missing the Mark?",
    arxiv="2009.08576",
)
_NTK_SAP = Source(
    "Wang, Li & Sun",
    2023,
    "NTK-SAP: Improving neural network pruning by aligning training dynamics",
    arxiv="2304.02840",
)
_PROSPR = Source(
    "Alizadeh, Tailor, Zintgraf, van Amersfoort, Farquhar, Lane & Gal",
    2022,
    "Prospect Pruning: Finding Trainable Weights at Initialization using Meta-Gradients",
    arxiv="2202.08132",
)

ITER_SNIP = Measure("iter_snip", 1, ("gradient",), "sum_abs", "Σ |θ·g|", parameter_times_gradient, _FORCE)
FORCE = Measure("force", 1, ("gradient",), "sum_abs", "Σ |θ·g(m ⊙ θ)|", parameter_times_gradient, _FORCE, revives=True)
SNIP_PER_BATCH = Measure(
    "snip_per_batch",
    1,
    ("absolute_gradient",),
    "sum",
    "Σ E_B|θ·g_B|",
    magnitude_times_absolute_gradient,
    _MISSING_THE_MARK,
)
NTK_SAP = Measure(
    "ntk_sap",
    1,
    ("gradient",),
    "sum_abs",
    "Σ |θ·∂R/∂θ|, R = E‖f(x; θ) - f(x; θ + ε Δ)‖²",
    parameter_times_gradient,
    _NTK_SAP,
    objective="tangent_kernel",
)
PROSPR = Measure(
    "prospr",
    1,
    ("gradient",),
    "sum_abs",
    "Σ |θ·∂L(θ_K)/∂θ|, θ_K after K steps",
    parameter_times_gradient,
    _PROSPR,
    objective="after_training",
)
