"""How the sensitivities |W dL/dW| of one batch are spread in each layer of a wide network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import iti0k0
from torch import Tensor

from flowprune.core.arguments import require_size
from flowprune.core.errors import PruningError, invalid
from flowprune.models.deviation import require_deviation
from flowprune.models.edge_of_chaos import Activation, activation_of
from flowprune.models.gaussian import derivative, nodes

FAR = 60.0
"""Beyond it a product of two normal variables has a probability below 1e-26."""


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """The distribution of one entry W_ij · mean over examples a of δ_ai h_aj, in units that all layers share.

    Where examples have a signal and an error in common, their gradients add up; what is their own averages out.

    Formula: W (√own Z1 + √common Z2 Z3) with W, Z1, Z2, Z3 standard normal; zero with the probability ``silent``
    besides, and then larger elsewhere, so that the mean square is own + common.

    Attributes:
        own: (depth,) Mean square of the part in which examples differ: a sum of many products, so it is normal.
        common: (depth,) Mean square of the part that they share: one product of an error and a signal.
        silent: (depth,) Probability that an entry is exactly zero, as in each example a unit beside it is off.
    """

    own: Tensor
    common: Tensor
    silent: Tensor

    @property
    def scale(self) -> Tensor:
        """Root mean square of the scores of each layer."""
        return (self.own + self.common).sqrt()

    def of_widths(self, widths: Sequence[int]) -> Sensitivities:
        """The same for layers of these widths, that of the input first: a layer's mean square falls as its weights.

        Formula: divided by (fan-in · fan-out) of each layer.

        Example:
            >>> one = torch.ones(2).double()
            >>> Sensitivities(one, one, one * 0).of_widths([1, 2, 4]).own
            tensor([0.5000, 0.1250], dtype=torch.float64)
        """
        sizes = torch.tensor([a * b for a, b in pairwise(widths)], dtype=torch.float64)
        return Sensitivities(self.own / sizes, self.common / sizes, self.silent)

    def below(self, threshold: float) -> Tensor:
        """The fraction of each layer's scores that are at most ``threshold``.

        Example:
            >>> one, none = torch.ones(1).double(), torch.zeros(1).double()
            >>> Sensitivities(none, one, none).below(1e9)
            tensor([1.], dtype=torch.float64)
        """
        share = (self.common / self.scale.square()).numpy()[:, None]
        z, weights = (each.numpy() for each in nodes(20))
        spread = np.sqrt(1 - share + share * z**2)  # of the gradient, where Z2 = z
        integral: Any = iti0k0  # of I0 and K0; 2/π ∫ K0 is the probability that |Z Z'| is below
        with np.errstate(over="ignore"):
            at = threshold * ((1 - self.silent).sqrt() / self.scale).numpy()[:, None]
            heard = 2 / math.pi * integral(np.minimum(at / np.maximum(spread, 1e-12), FAR))[1] @ weights
        return self.silent + (1 - self.silent) * torch.from_numpy(np.clip(heard, 0.0, 1.0))


def sensitivities(
    activation: str | Activation,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    depth: int,
    start: float = 1.0,
    batch: int = 32,
) -> Sensitivities:
    """How the sensitivities of one batch are spread in each layer, for independent inputs and a random read-out.

    Formula: y_0 ~ N(0, start), y_l = W_l φ(y_{l-1}) + b_l for l = 1 to L, loss = mean over examples of v·φ(y_L). With q
    and c the variance of y_l and its correlation between examples, two examples share the signal
    E[φ(u) φ(v)] of layer l - 1 and the error E[φ'(u) φ'(v)] prod over k >= l of sigma_w² E[φ'(u_k) φ'(v_k)]; ``common``
    is the product of both, at c, and ``own`` is (the same product at c = 1, less ``common``) / batch.

    Units: the scores' squares times width / sigma_w², the same in all layers. Shapes: (depth,), float64, for layers
    1 to depth.

    Assumes: layers of one width, so wide that pre-activations are normal; weights going forward and backward are
    taken to be independent.

    Args:
        activation: A name, or a function of a tensor, entry by entry.
        sigma_w: Weights have the variance sigma_w² / fan-in.
        sigma_b: Biases have the variance sigma_b².
        depth: L.
        start: Variance of what stands before the first activation.
        batch: Examples; with one, own is 0.

    Raises:
        ValueError: ``depth`` or ``batch`` below 1, a standard deviation below 0, or ``start`` not above 0.
        UnknownNameError: no such activation.
        PruningError: so deep and so far off the edge of chaos that float64 cannot hold a layer's scores.

    Source: S. Hayou et al., 2021, arXiv:2002.08797, for the mean square of one example; B. Poole et al., 2016,
    arXiv:1606.05340, for the correlation.

    Example:
        >>> found = sensitivities("relu", 1.0, depth=3, batch=1)  # all layers alike: E[φ²] E[φ'²]³ of 1/2 each
        >>> (found.own + found.common).round(decimals=6).tolist()
        [0.0625, 0.0625, 0.0625]
    """
    phi = activation_of("sensitivities", activation)
    require_size("sensitivities(depth=)", depth)
    require_size("sensitivities(batch=)", batch)
    require_deviation("sensitivities(sigma_w=)", sigma_w)
    require_deviation("sensitivities(sigma_b=)", sigma_b)
    if not (math.isfinite(start) and start > 0):
        raise invalid("sensitivities(start=)", "a variance above 0", start)
    w2, b2 = sigma_w * sigma_w, sigma_b * sigma_b  # a power of floats raises where it overflows
    shared, q = list[_Shared](), float(start)
    c = 0.0 if batch > 1 else 1.0  # one example shares all with itself
    for _ in range(depth + 1):
        shared.append(_shared(phi, q, c))
        q = b2 + w2 * shared[-1].signal
        c = min(1.0, (b2 + w2 * shared[-1].signal_between) / q) if q else 1.0
    own, common, silent = (torch.zeros(depth, dtype=torch.float64) for _ in range(3))
    error, between = shared[-1].slope, shared[-1].slope_between
    for layer in range(depth - 1, -1, -1):
        before = shared[layer]
        both, alone = before.signal_between * between, before.signal * error
        common[layer], own[layer] = both, max(0.0, alone - both) / batch
        silent[layer] = _silent(before.on, shared[layer + 1].steep, batch)
        error, between = error * w2 * before.slope, between * w2 * before.slope_between
    whole = own + common
    if not bool(((whole > 0) & whole.isfinite()).all()):
        layer = int(((whole > 0) & whole.isfinite()).logical_not().nonzero()[0]) + 1
        raise PruningError(
            "sensitivities(depth=) must be one at which float64 holds the mean square of scores; that of layer "
            f"{layer} of {depth} is {float(whole[layer - 1]):g}. Go less deep, or nearer to the edge of chaos."
        )
    return Sensitivities(own, common, silent)


class _Shared(NamedTuple):
    """Of the units of a layer: E[φ²], E[φ φ], E[φ'²] and E[φ' φ'], within an example and between two of them.

    ``on`` and ``steep`` are the probabilities that φ and φ' are not zero, by what examples have in common.
    """

    signal: float
    signal_between: float
    slope: float
    slope_between: float
    on: Tensor
    steep: Tensor


def _shared(phi: Activation, q: float, c: float) -> _Shared:
    """By quadrature over what examples have in common, and over what is an example's own."""
    z, weights = nodes(40)
    at = math.sqrt(q) * (math.sqrt(c) * z[:, None] + math.sqrt(1 - c) * z)
    values, slopes = phi(at), derivative(phi)(at)

    def within(x: Tensor) -> float:
        return float(weights @ x.square() @ weights)

    def between(x: Tensor) -> float:
        return float(weights @ (x @ weights).square())

    on, steep = ((x != 0).double() @ weights for x in (values, slopes))
    return _Shared(within(values), between(values), within(slopes), between(slopes), on, steep)


def _silent(on: Tensor, steep: Tensor, batch: int) -> float:
    """The probability that in no example both the signal and the slope of a pair of units are there."""
    _, weights = nodes(40)
    neither = (1 - torch.outer(on, steep)).clamp(0, 1)
    if float(neither.max()) < 1e-12:  # never zero: of most activations
        return 0.0
    return float(weights @ neither.pow(batch) @ weights)
