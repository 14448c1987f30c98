"""Variances and correlations of signals by depth, in the limit of wide layers."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from flowprune.core.errors import PruningError, invalid, renamed
from flowprune.models.deviation import require_deviation
from flowprune.models.edge_of_chaos import Activation, activation_of
from flowprune.models.gaussian import derivative, expectation, nodes

FROM_ABOVE: Final = 1e-24
"""The variance that stands for 0 where a limit from above is taken: a slope has none at a kink itself."""


def variance_map(
    activation: str | Activation, sigma_w: float, sigma_b: float = 0.0, *, depth: int, start: float = 1.0
) -> Tensor:
    """The variance of pre-activations in each layer.

    Formula: q_l = sigma_b² + sigma_w² E[φ(√q_{l-1} Z)²], from q_0 = ``start``.

    Shapes: (depth + 1,), float64.

    Assumes: layers so wide that pre-activations are normal.

    Raises:
        ValueError: a standard deviation or ``start`` below 0 or not finite, or ``depth`` below 1.
        UnknownNameError: no such activation.
        PruningError: a variance is too large for float64.

    Source: B. Poole et al., 2016, arXiv:1606.05340.

    Example:
        >>> variance_map("relu", 2**0.5, depth=3).round(decimals=9).tolist()  # the edge of chaos: nothing is lost
        [1.0, 1.0, 1.0, 1.0]
    """
    phi = activation_of("variance_map", activation)
    _require("variance_map", sigma_w, sigma_b, depth)
    if not (math.isfinite(start) and start >= 0):
        raise invalid("variance_map(start=)", "a variance >= 0", start)
    found = [float(start)]
    for layer in range(1, depth + 1):
        found.append(_next(phi, sigma_w, sigma_b, found[-1]))
        if not math.isfinite(found[-1]):
            raise _beyond("variance_map", f"variances; that of layer {layer} is {found[-1]:g}")
    return torch.tensor(found, dtype=torch.float64)


def correlation_map(
    activation: str | Activation,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    depth: int,
    start: float,
    variance: float = 1.0,
) -> Tensor:
    """The correlation of the pre-activations of two inputs in each layer.

    Formula: c_l = (sigma_b² + sigma_w² E[φ(u) φ(v)]) / q_l with u = √q Z, v = √q (c Z + √(1 - c²) Z'), q = q_{l-1} and
    c = c_{l-1}; the variance is followed besides.

    Shapes: (depth + 1,), float64.

    Raises:
        ValueError: ``start`` outside [-1, 1], ``variance`` not above 0, a standard deviation below 0, or ``depth``
            below 1.
        UnknownNameError: no such activation.
        PruningError: a variance is zero, or too small or too large for float64, so that nothing has a correlation.

    Source: B. Poole et al., 2016, arXiv:1606.05340.

    Example:
        >>> found = correlation_map("relu", 2**0.5, depth=1, start=0.0)
        >>> round(float(found[1]), 6)  # 1 / pi
        0.31831
    """
    phi = activation_of("correlation_map", activation)
    _require("correlation_map", sigma_w, sigma_b, depth)
    if not -1 <= start <= 1:
        raise invalid("correlation_map(start=)", "a correlation in [-1, 1]", start)
    if not (math.isfinite(variance) and variance > 0):
        raise invalid("correlation_map(variance=)", "a variance above 0", variance)
    z, weights = nodes(40)
    found, q = [float(start)], float(variance)
    for layer in range(1, depth + 1):
        c = found[-1]
        u = math.sqrt(q) * z
        v = math.sqrt(q) * (c * z[:, None] + math.sqrt(max(0.0, 1 - c * c)) * z)
        product = float((weights * phi(u)) @ phi(v) @ weights)
        q = _next(phi, sigma_w, sigma_b, q)
        if not (math.isfinite(q) and q > 0 and math.isfinite(product)):
            raise _beyond("correlation_map", f"variances above 0, of which a correlation is; layer {layer} has {q:g}")
        found.append(min(1.0, max(-1.0, (sigma_b * sigma_b + sigma_w * sigma_w * product) / q)))
    return torch.tensor(found, dtype=torch.float64)


def chi(activation: str | Activation, sigma_w: float, variance: float) -> float:
    """The slope of the correlation map at one: below 1 inputs become alike with depth, above 1 they part.

    Formula: chi = sigma_w² E[φ'(√q Z)²]. The mean square of gradients grows by chi from one layer to the one before. At
    ``variance`` 0 it is the limit from above: of a positively homogeneous activation what it is at any other.

    Raises:
        ValueError: ``sigma_w`` or ``variance`` below 0 or not finite.
        UnknownNameError: no such activation.
        PruningError: the slope is too large for float64, or is none.

    Example:
        >>> chi("relu", 2**0.5, variance=3.0)
        1.0
    """
    slope = derivative(activation_of("chi", activation))
    require_deviation("chi(sigma_w=)", sigma_w)
    if not (math.isfinite(variance) and variance >= 0):
        raise invalid("chi(variance=)", "a variance >= 0", variance)
    found = sigma_w * sigma_w * expectation(lambda x: slope(x).square(), variance or FROM_ABOVE)
    if not math.isfinite(found):
        raise _beyond("chi", f"the slope of the correlation map; it is {found:g}")
    return round(found, 12)


def score_scale(
    activation: str | Activation, sigma_w: float, sigma_b: float = 0.0, *, depth: int, start: float = 1.0
) -> Tensor:
    """How large the sensitivities θ·g of a layer's weights are, beside those of the last layer: a mean square.

    Formula: m_l / m_L = s_{l-1} / s_{L-1} · prod over k from l + 1 to L of chi(q_{k-1}), with m_l = E[(W_l dL/dW_l)²],
    s_l = E[φ(√q_l Z)²] and q of :func:`variance_map`. On the edge of chaos all layers are alike; where chi < 1 the
    first layers have the smallest scores, and are the first to be pruned whole; where chi > 1 the last. A relu network
    without biases has the same score in all its layers, whatever sigma_w is: what gradients lose, signals lose too.

    Shapes: (depth,), float64, for layers 1 to depth.

    Assumes: layers of one width, and the gradient of one example; :func:`~flowprune.analysis.mean_field.sensitivities`
    is that of a batch.

    Raises:
        ValueError: ``depth`` below 1, or ``start`` or a standard deviation below 0.
        UnknownNameError: no such activation.
        PruningError: so deep and so far off the edge of chaos that float64 cannot hold a layer's scores.

    Source: S. Hayou et al., 2021, arXiv:2002.08797.

    Example:
        >>> score_scale("relu", 1.0, 1.0, depth=2, start=2.0).round(decimals=9).tolist()  # q = 2, 2, 2 and chi = 1/2
        [0.5, 1.0]
        >>> score_scale("relu", 1.0, depth=3).round(decimals=9).tolist()  # the exception: no biases
        [1.0, 1.0, 1.0]
    """
    phi = activation_of("score_scale", activation)
    with renamed({"variance_map(": "score_scale("}):
        q = variance_map(activation, sigma_w, sigma_b, depth=depth, start=start)
    slopes = [chi(activation, sigma_w, float(each)) for each in q[1:-1]]
    signals = torch.tensor(
        [expectation(lambda x: phi(x).square(), float(each)) for each in q[:-1]], dtype=torch.float64
    )
    ratios = torch.tensor([*slopes, 1.0], dtype=torch.float64)
    found = ratios.flip(0).cumprod(0).flip(0) * signals / signals[-1]
    if not bool(found.isfinite().all()):
        layer = int(found.isfinite().logical_not().nonzero()[0]) + 1
        raise _beyond("score_scale", f"scores beside the last layer's; that of layer {layer} is {found[layer - 1]:g}")
    return found


def _next(phi: Activation, sigma_w: float, sigma_b: float, q: float) -> float:
    """The variance after a layer; products, as a power of floats raises where it overflows."""
    return sigma_b * sigma_b + sigma_w * sigma_w * expectation(lambda x: phi(x).square(), q)


def _require(where: str, sigma_w: float, sigma_b: float, depth: int) -> None:
    require_deviation(f"{where}(sigma_w=)", sigma_w)
    require_deviation(f"{where}(sigma_b=)", sigma_b)
    if depth < 1:
        raise invalid(f"{where}(depth=)", "a number of layers >= 1", depth)


def _beyond(where: str, what: str) -> PruningError:
    todo = "Go less deep, or nearer to the edge of chaos."
    return PruningError(f"{where}() must be of a network of which float64 holds {what}. {todo}")
