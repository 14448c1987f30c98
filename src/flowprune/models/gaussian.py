"""Expectations of functions of a normal variable, by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

REACH = 14.0
"""Nodes lie in [-REACH, REACH]: what is beyond has a probability below 1e-43."""
PANELS = 400
"""Panels on each side of zero, of five Gauss-Legendre nodes each. Zero is an edge: most kinks are there."""


def expectation(f: Callable[[Tensor], Tensor], variance: float = 1.0) -> float:
    """E[f(√variance · Z)], Z standard normal.

    Formula: Σ w_i f(√variance z_i), with composite Gauss-Legendre nodes. Exact to about 1e-13 for a function that is
    smooth on either side of zero, to about 1e-5 for one that jumps elsewhere.

    Example:
        >>> round(expectation(torch.square, variance=3.0), 12), round(expectation(torch.relu), 9)
        (3.0, 0.39894228)
    """
    z, weights = nodes()
    return float(weights @ f(math.sqrt(variance) * z))


def derivative(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """f', entry by entry, by automatic differentiation; zero where f does not depend on its argument.

    Example:
        >>> derivative(torch.tanh)(torch.zeros(2, dtype=torch.float64))
        tensor([1., 1.], dtype=torch.float64)
    """

    def slope(x: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x.detach().clone().requires_grad_(True)
            total = f(at).sum()
            if not total.requires_grad:  # of a constant, or of a step by comparison
                return torch.zeros_like(x)
            (found,) = torch.autograd.grad(total, at)
        return found

    return slope


@cache
def nodes(panels: int = PANELS) -> tuple[Tensor, Tensor]:
    """Places and weights of the quadrature, float64; the weights contain the density and sum to one."""
    inner, weight = np.polynomial.legendre.leggauss(5)
    edges = np.linspace(-REACH, REACH, 2 * panels + 1)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (inner + 1)).reshape(-1)
    w = (half * weight).reshape(-1) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(z), torch.from_numpy(w / w.sum())
