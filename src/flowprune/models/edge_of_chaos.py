"""Where signals neither die nor explode with depth: the edge of chaos of an activation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional

from flowprune.core.errors import PruningError, first_line, invalid, unknown
from flowprune.models.deviation import require_deviation
from flowprune.models.gaussian import derivative, expectation

Activation: TypeAlias = Callable[[Tensor], Tensor]
ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "elu": functional.elu,
    "selu": functional.selu,
    "silu": functional.silu,
    "gelu": functional.gelu,
}
"""Activations by name; any function of a tensor, entry by entry, will do in place of a name."""
RANGE: Final = (1e-8, 1e3)
"""Variances among which a fixed point is looked for."""
NEAR_ZERO: Final = (1e-3, 1e-2)
"""Variances at which it is seen whether signals leave the fixed point 0: the slope there is one by construction."""


@dataclass(frozen=True)
class EdgeOfChaos:
    """An initialization at which the slope of the correlation map is one.

    Attributes:
        sigma_w: Weights have the variance sigma_w² / fan-in.
        sigma_b: Biases have the variance sigma_b².
        variance: The fixed point q of the variance map; None where every variance is one.
        slope: dV/dq of the variance map at q; of q = 0, where that is 1 by construction, the larger V(q) / q at q of
            :data:`NEAR_ZERO`. Above 1 the fixed point is unstable: forward propagation leaves it.
    """

    sigma_w: float
    sigma_b: float
    variance: float | None
    slope: float

    @property
    def stable(self) -> bool:
        """Whether forward propagation stays at the fixed point."""
        return self.slope <= 1.0 + 1e-9


def activation_of(where: str, activation: str | Activation) -> Activation:
    """The function of a name, or the function itself.

    Raises:
        UnknownNameError: no such name.
        ValueError: what is no function of a tensor, entry by entry.
    """
    if not isinstance(activation, str):
        return _entry_by_entry(where, activation)
    if activation not in ACTIVATIONS:
        raise unknown(f"{where}(activation=)", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]


def _entry_by_entry(where: str, given: Any) -> Activation:
    """The function, if some entries have the values that they have among more."""
    at = torch.tensor([-2.0, -0.5, 0.3, 1.7], dtype=torch.float64)
    rule, todo = "a name, or a function of a tensor, entry by entry", "Pass 'tanh' or torch.tanh."
    if not callable(given):
        raise invalid(f"{where}(activation=)", rule, given, todo)
    activation = cast("Activation", given)
    try:
        found: tuple[Any, Any] = (activation(at.clone()), activation(at[1:3].clone()))
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise invalid(f"{where}(activation=)", rule, first_line(error), todo) from error
    for each, length in zip(found, (4, 2), strict=True):
        if not isinstance(each, Tensor) or each.shape != (length,):
            got = f"shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
            raise invalid(f"{where}(activation=)", rule, f"{got} of a tensor of {length} entries", todo)
    if not torch.allclose(found[0][1:3], found[1], rtol=1e-6, atol=1e-12, equal_nan=True):
        raise invalid(f"{where}(activation=)", rule, "values that change with the other entries", todo)
    return activation


def edge_of_chaos(activation: str | Activation, sigma_b: float = 0.0) -> EdgeOfChaos:
    """The weight variance at which gradients and correlations neither vanish nor explode with depth.

    Formula: q = sigma_b² + E[φ(√q Z)²] / E[φ'(√q Z)²] and sigma_w² = 1 / E[φ'(√q Z)²]: the fixed point of the variance
    map V(q) = sigma_b² + sigma_w² E[φ(√q Z)²] at which chi = sigma_w² E[φ'(√q Z)²] = 1. Of several, the first that is
    stable, |V'(q)| < 1. Without biases a positively homogeneous activation, such as relu, has every q; one that is
    zero at zero has the degenerate q = 0 with sigma_w² = 1 / E[φ'²] there, 1 / φ'(0)² where it is smooth. That point
    holds no signal: for tanh it is stable, and signals die slowly, q near 1 / (2 l) after l layers; for silu and gelu
    it is unstable, and they grow. A deep network wants sigma_b > 0.

    Assumes: layers so wide that pre-activations are normal; no normalization between layers.

    Args:
        activation: A name of :data:`ACTIVATIONS`, or a function of a tensor, entry by entry.
        sigma_b: Standard deviation of the biases.

    Raises:
        UnknownNameError: no such activation.
        ValueError: ``sigma_b`` is negative or not finite, or the activation is no function entry by entry.
        PruningError: there is no such point in :data:`RANGE`.

    Warns: where the fixed point is unstable.

    Source: B. Poole et al., 2016, arXiv:1606.05340; S. Hayou et al., 2019, arXiv:1902.06853 and 2021, arXiv:2002.08797.

    Example:
        >>> found = edge_of_chaos("tanh", sigma_b=0.2)
        >>> round(found.sigma_w, 4), round(found.variance, 4), round(found.slope, 2)
        (1.3041, 0.5121, 0.54)
        >>> round(edge_of_chaos("relu").sigma_w ** 2, 9)
        2.0
    """
    phi = activation_of("edge_of_chaos", activation)
    require_deviation("edge_of_chaos(sigma_b=)", sigma_b)
    found = _without_biases(phi) if sigma_b == 0 else None
    found = _fixed_point(phi, sigma_b, activation) if found is None else found
    if not found.stable:
        warnings.warn(
            f"edge_of_chaos({activation!r}, sigma_b={sigma_b:g}): the fixed point {found.variance:.4g} is unstable, "
            f"with slope {found.slope:.3g} of the variance map; deep networks drift away from it. Another sigma_b or "
            "another activation, such as tanh or elu, has a stable one.",
            stacklevel=2,
        )
    return found


def _without_biases(phi: Activation) -> EdgeOfChaos | None:
    """Of a positively homogeneous activation, or at zero of one that is zero there; None of others."""
    slope = derivative(phi)
    at = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
    values = phi(at)
    if bool(torch.allclose(values[[0, 3]], 2 * values[[1, 2]], rtol=1e-12, atol=1e-12)):
        second = (float(values[1]) ** 2 + float(values[2]) ** 2) / 2  # E[φ'²] of a line on each side
        return EdgeOfChaos(1 / math.sqrt(second), 0.0, None, 1.0) if second > 0 else None
    zero, steep = torch.zeros(1, dtype=torch.float64), expectation(lambda x: slope(x).square(), 1e-24)
    if abs(float(phi(zero))) < 1e-12 and steep > 0:
        left = max(expectation(lambda x: phi(x).square(), q) / (steep * q) for q in NEAR_ZERO)
        return EdgeOfChaos(1 / math.sqrt(steep), 0.0, 0.0, left)
    return None


def _fixed_point(phi: Activation, sigma_b: float, name: object) -> EdgeOfChaos:
    slope = derivative(phi)

    def second(q: float) -> float:
        return expectation(lambda x: slope(x).square(), q)

    def excess(q: float) -> float:
        steep = second(q)  # zero of a constant or a step, which have no edge of chaos
        return sigma_b * sigma_b + expectation(lambda x: phi(x).square(), q) / steep - q if steep else math.nan

    root: Any = brentq  # its stub tells of a tuple
    grid = np.geomspace(*RANGE, 120)
    with np.errstate(all="ignore"):
        signs = [excess(float(q)) for q in grid]
    found: list[EdgeOfChaos] = []
    for low, high, a, b in zip(grid, grid[1:], signs, signs[1:], strict=False):
        if math.isfinite(a) and math.isfinite(b) and a * b < 0:
            q = float(root(excess, low, high, xtol=1e-13, rtol=1e-13))
            sigma_w2 = 1 / second(q)
            steep = sigma_w2 * expectation(lambda z, q=q: phi(math.sqrt(q) * z) * slope(math.sqrt(q) * z) * z)
            found.append(EdgeOfChaos(math.sqrt(sigma_w2), sigma_b, q, steep / math.sqrt(q)))
    if not found:
        raise PruningError(
            f"edge_of_chaos(activation=) must be one with an edge of chaos at sigma_b={sigma_b:g}; {name!r} has none "
            f"for variances from {RANGE[0]:g} to {RANGE[1]:g}. Use another sigma_b, 0 for relu, or another activation."
        )
    return next((point for point in found if point.stable), found[0])
