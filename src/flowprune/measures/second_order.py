"""Order 2: d²N/dt² = 2(‖g‖² + Σ θ·Hg), and what removal does to the gradient's norm.

Removing Θ_p changes ‖g‖² by -2 Θ_pᵀHg (E7). Signed, the lowest go first: the removal that *raises* the gradient
norm most (GraSP; original GraSP scores -θ·Hg and cuts the highest, the same order). Absolute, the removal
that changes it least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.errors import invalid
from flowprune.core.source import Source
from flowprune.measures.measure import FRAMEWORK, Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def parameter_times_hessian_gradient(signals: Signals) -> dict[str, Tensor]:
    """C = θ·(Hg), minus half the first-order change of ‖g‖² when the weight alone is set to zero.

    Shapes: as the parameters. Units: squared loss units per squared parameter unit.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> theta, hg = {"w": torch.tensor([2.0, -1.0])}, {"w": torch.tensor([1.0, 4.0])}
        >>> parameter_times_hessian_gradient(Signals(params=theta, hessian_gradient=hg))["w"]
        tensor([ 2., -4.])
    """
    product = signals.require("hessian_gradient")
    return {name: signals.params[name] * hg for name, hg in product.items()}


def norm_acceleration(signals: Signals) -> dict[str, Tensor]:
    """C = g² + θ·(Hg), half of the weight's share of d²N/dt² (E4).

    Shapes: as the parameters. Units: squared loss units per squared parameter unit.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> one = {"w": torch.tensor([3.0])}
        >>> norm_acceleration(Signals(params=one, gradient=one, hessian_gradient=one))["w"]
        tensor([18.])
    """
    gradient, product = signals.require("gradient"), signals.require("hessian_gradient")
    if gradient.keys() != product.keys():
        odd = sorted(gradient.keys() ^ product.keys())
        raise invalid("norm_acceleration(signals=)", "given g and Hg of the same parameters", odd)
    return {name: gradient[name].square() + signals.params[name] * hg for name, hg in product.items()}


_GRASP = Source(
    "Wang, Zhang & Grosse",
    2020,
    "Picking Winning Tickets Before Training by Preserving Gradient Flow",
    arxiv="2002.07376",
)
_EARLYCROP = Source(
    "Rachwan, Zügner, Charpentier, Geisler, Ayle & Günnemann",
    2022,
    "Winning the Lottery Ahead of Time: Efficient Early Network Pruning",
    arxiv="2206.10451",
)

GRADIENT_NORM_INCREASE = Measure(
    "gradient_norm_increase",
    2,
    ("hessian_gradient",),
    "sum",
    "Σ θ·(Hg)",
    parameter_times_hessian_gradient,
    _GRASP,
    published_as="grasp",
    temperature=200.0,
)
GRADIENT_NORM_PRESERVATION = Measure(
    "gradient_norm_preservation",
    2,
    ("hessian_gradient",),
    "abs_sum",
    "|Σ θ·(Hg)|",
    parameter_times_hessian_gradient,
    FRAMEWORK,
    published_as="grad_preserve",
    temperature=1.0,
)
NORM_ACCELERATION = Measure(
    "norm_acceleration",
    2,
    ("gradient", "hessian_gradient"),
    "sum",
    "‖g_f‖² + Σ θ·(Hg)",
    norm_acceleration,
    _EARLYCROP,
)
