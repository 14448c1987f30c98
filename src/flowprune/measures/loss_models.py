"""Taylor models of what one weight's removal costs: LM, OBD and QM in one form.

s = |-g·θ + ½ d·θ²|, with g = 0 for OBD and d = 0 for LM. The absolute value is taken per weight, so the sum over a set
is not the predicted change of the set: that is :func:`flowprune.analysis.predicted_change`. The paper's (λ/2) θ² is an
option of every measure, the ``step_penalty`` of :func:`flowprune.measures.score`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.errors import invalid
from flowprune.core.source import Source
from flowprune.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def linear_model(signals: Signals) -> dict[str, Tensor]:
    """C = |g·θ|.

    Shapes: as the parameters. Units: loss units.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> two = {"w": torch.tensor([2.0])}
        >>> linear_model(Signals(params=two, gradient={"w": torch.tensor([-3.0])}))["w"]
        tensor([6.])
    """
    return {n: (g * signals.params[n]).abs() for n, g in signals.require("gradient").items()}


def curvature_model(signals: Signals) -> dict[str, Tensor]:
    """C = |½ d·θ²|, Optimal Brain Damage, with d a diagonal curvature.

    Shapes: as the parameters. Units: loss units. Assumes: a trained optimum, where g = 0.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> two = {"w": torch.tensor([2.0])}
        >>> curvature_model(Signals(params=two, curvature=two))["w"]
        tensor([4.])
    """
    return {n: (0.5 * d * signals.params[n].square()).abs() for n, d in signals.require("curvature").items()}


def quadratic_model(signals: Signals) -> dict[str, Tensor]:
    """C = |-g·θ + ½ d·θ²|; the signs oppose, since the step is -θ.

    Shapes: as the parameters. Units: loss units.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> two = {"w": torch.tensor([2.0])}
        >>> quadratic_model(Signals(params=two, gradient=two, curvature=two))["w"]      # |-4 + 4|
        tensor([0.])
    """
    gradient, curvature = signals.require("gradient"), signals.require("curvature")
    if gradient.keys() != curvature.keys():
        odd = sorted(gradient.keys() ^ curvature.keys())
        raise invalid("quadratic_model(signals=)", "given g and d of the same parameters", odd)
    theta = signals.params
    return {n: (-g * theta[n] + 0.5 * curvature[n] * theta[n].square()).abs() for n, g in gradient.items()}


_LAURENT = Source(
    "Laurent, Ballas, George, Bouthillier & Vincent",
    2020,
    "Revisiting Loss Modelling for Unstructured Pruning",
    arxiv="2006.12279",
)
_LECUN = Source("LeCun, Denker & Solla", 1990, "Optimal Brain Damage")

LM = Measure("lm", 1, ("gradient",), "sum", "Σ |g·θ|", linear_model, _LAURENT)
OBD = Measure("obd", None, ("curvature",), "sum", "Σ |½ d·θ²|", curvature_model, _LECUN)
QM = Measure("qm", None, ("gradient", "curvature"), "sum", "Σ |-g·θ + ½ d·θ²|", quadratic_model, _LAURENT)
