"""Variances and correlations of signals by depth, in the limit of wide layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.models.edge_of_chaos import Activation, activation_of
from flowprune.models.gaussian import derivative, expectation, nodes


def variance_map(
    activation: str | Activation, sigma_w: float, sigma_b: float = 0.0, *, depth: int, start: float = 1.0
) -> Tensor:
    """The variance of pre-activations in each layer.

    Formula: q_l = sigma_b² + sigma_w² E[φ(√q_{l-1} Z)²], from q_0 = ``start``.

    Shapes: (depth + 1,), float64.

    Assumes: layers so wide that pre-activations are normal.

    Raises:
        ValueError: ``depth`` below 1, or ``start`` below 0.
        UnknownNameError: no such activation.

    Source: B. Poole et al., 2016, arXiv:1606.05340.

    Example:
        >>> variance_map("relu", 2**0.5, depth=3).round(decimals=9).tolist()  # the edge of chaos: nothing is lost
        [1.0, 1.0, 1.0, 1.0]
    """
    phi = activation_of("variance_map", activation)
    _require_depth("variance_map", depth)
    if start < 0:
        raise invalid("variance_map(start=)", "a variance >= 0", start)
    found = [float(start)]
    for _ in range(depth):
        found.append(sigma_b**2 + sigma_w**2 * expectation(lambda x: phi(x).square(), found[-1]))
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
        ValueError: ``start`` outside [-1, 1], ``variance`` not above 0, or ``depth`` below 1.
        UnknownNameError: no such activation.

    Source: B. Poole et al., 2016, arXiv:1606.05340.

    Example:
        >>> found = correlation_map("relu", 2**0.5, depth=1, start=0.0)
        >>> round(float(found[1]), 6)  # 1 / pi
        0.31831
    """
    phi = activation_of("correlation_map", activation)
    _require_depth("correlation_map", depth)
    if not -1 <= start <= 1:
        raise invalid("correlation_map(start=)", "a correlation in [-1, 1]", start)
    if not variance > 0:
        raise invalid("correlation_map(variance=)", "a variance above 0", variance)
    z, weights = nodes(40)
    found, q = [float(start)], float(variance)
    for _ in range(depth):
        c = found[-1]
        u = math.sqrt(q) * z
        v = math.sqrt(q) * (c * z[:, None] + math.sqrt(max(0.0, 1 - c * c)) * z)
        product = float((weights * phi(u)) @ phi(v) @ weights)
        q = sigma_b**2 + sigma_w**2 * expectation(lambda x: phi(x).square(), q)
        found.append(min(1.0, max(-1.0, (sigma_b**2 + sigma_w**2 * product) / q)))
    return torch.tensor(found, dtype=torch.float64)


def chi(activation: str | Activation, sigma_w: float, variance: float) -> float:
    """The slope of the correlation map at one: below 1 inputs become alike with depth, above 1 they part.

    Formula: chi = sigma_w² E[φ'(√q Z)²]. Gradients grow by 1 / chi from one layer to the one before.

    Raises:
        UnknownNameError: no such activation.

    Example:
        >>> chi("relu", 2**0.5, variance=3.0)
        1.0
    """
    slope = derivative(activation_of("chi", activation))
    return round(sigma_w**2 * expectation(lambda x: slope(x).square(), variance), 12)


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
        ValueError: ``depth`` below 1, or ``start`` below 0.
        UnknownNameError: no such activation.

    Source: S. Hayou et al., 2021, arXiv:2002.08797.

    Example:
        >>> score_scale("relu", 1.0, 1.0, depth=2, start=2.0).round(decimals=9).tolist()  # q = 2, 2, 2 and chi = 1/2
        [0.5, 1.0]
        >>> score_scale("relu", 1.0, depth=3).round(decimals=9).tolist()  # the exception: no biases
        [1.0, 1.0, 1.0]
    """
    phi = activation_of("score_scale", activation)
    q = variance_map(activation, sigma_w, sigma_b, depth=depth, start=start)
    slopes = [chi(activation, sigma_w, float(each)) for each in q[1:-1]]
    signals = torch.tensor(
        [expectation(lambda x: phi(x).square(), float(each)) for each in q[:-1]], dtype=torch.float64
    )
    ratios = torch.tensor([*slopes, 1.0], dtype=torch.float64)
    return ratios.flip(0).cumprod(0).flip(0) * signals / signals[-1]


def _require_depth(where: str, depth: int) -> None:
    if depth < 1:
        raise invalid(f"{where}(depth=)", "a number of layers >= 1", depth)
