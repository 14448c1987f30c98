"""The sparsity at which a layer of a deep network is pruned whole: simulated, and predicted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

from flowprune.analysis.mean_field.sensitivities import sensitivities
from flowprune.core.arguments import require_size
from flowprune.core.errors import invalid, unknown
from flowprune.core.seeds import stream
from flowprune.masks.critical import Critical, largest_safe_sparsity
from flowprune.models.deviation import require_deviation
from flowprune.models.edge_of_chaos import Activation, activation_of

Score = Literal["sensitivity", "magnitude"]
SCORES: Final = ("sensitivity", "magnitude")


@dataclass(frozen=True)
class CriticalSparsity:
    """The smallest sparsity at which some layer is pruned whole.

    Attributes:
        mean: Over the draws.
        std: Over the draws, with n - 1; None for one.
        n: How many draws.
        values: Of each draw.
        layers: Which layer goes first in each draw, counted from 1.
        predicted: By mean field, without a draw.
    """

    mean: float
    std: float | None
    n: int
    values: tuple[float, ...]
    layers: tuple[int, ...]
    predicted: float


def critical_sparsity(
    activation: str | Activation,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    depth: int,
    width: int | Sequence[int] = 100,
    measure: Score = "sensitivity",
    seeds: Iterable[int] = range(5),
    batch: int = 32,
) -> CriticalSparsity:
    """The smallest sparsity at which a global selection prunes some layer of a fully connected network whole.

    The network is y_0 ~ N(0, 1), y_l = W_l φ(y_{l-1}) + b_l for l = 1 to L, with the loss v·φ(y_L), v ~ N(0, 1), a mean
    over the batch; its read-out v is not pruned. Scores are sensitivities |W dL/dW|, as of SNIP, or magnitudes |W|.

    Formula: predicted = Σ n_l F_l(t) / Σ n_l, with n_l the weights of a layer, F_l the distribution of its scores (of
    :func:`~flowprune.analysis.mean_field.sensitivities`, or of a normal variable) and t the median of the least of the
    layers' best scores, were all scores independent: Π (1 - F_l(t)^n_l) = 1/2. In the ordered phase the first layers
    go first, in the chaotic phase the last; there s falls as 1 / L. On the edge of chaos it stays near 1, and without
    biases for relu whatever sigma_w is.

    Units: a fraction of the weights of layers 1 to L.

    Assumes: for the prediction, wide layers and independent scores. At width 100 and batches of 32 it is from 12 %
    below simulations to 2 % above, and up to 18 % below at widths to 800: scores of one row go together, and the first
    or last few layers fluctuate. For magnitudes it is exact to 1 %.

    Args:
        activation: A name, or a function of a tensor, entry by entry.
        sigma_w: Weights have the variance sigma_w² / fan-in.
        sigma_b: Biases have the variance sigma_b².
        depth: L.
        width: Of all layers; or L + 1 widths, that of the input first.
        measure: ``"sensitivity"`` or ``"magnitude"``.
        seeds: One draw of a network and its inputs for each.
        batch: Examples.

    Raises:
        ValueError: ``depth``, a width or ``batch`` below 1, other than L + 1 widths, no seeds, ``sigma_w`` not above 0,
            ``sigma_b`` below 0.
        UnknownNameError: no such activation or measure.
        PruningError: so deep and so far off the edge of chaos that float64 cannot hold a layer's sensitivities.

    Source: S. Hayou et al., "Robust Pruning at Initialization", 2021, arXiv:2002.08797, who bound it. The prediction
    is of this library.

    Example:
        >>> found = critical_sparsity("tanh", 1.0, depth=4, width=1, measure="magnitude", seeds=[0])
        >>> found.values  # four layers of one weight each: the first that goes takes its layer along
        (0.25,)
        >>> deep, shallow = (critical_sparsity("tanh", 1.0, 0.2, depth=d, width=50, seeds=[0]).mean for d in (60, 15))
        >>> deep < shallow / 2
        True
    """
    phi = activation_of("critical_sparsity", activation)
    widths, draws = _widths(depth, width), list(seeds)
    _check(sigma_w, sigma_b, measure, batch, draws)
    counts = torch.tensor([float(a * b) for a, b in pairwise(widths)], dtype=torch.float64)
    if measure == "magnitude":
        scale = torch.tensor([sigma_w / math.sqrt(fan_in) for fan_in in widths[:-1]], dtype=torch.float64)
        predicted = _expected(lambda threshold: torch.erf(threshold / (scale * math.sqrt(2))), scale, counts)
    else:
        spread = sensitivities(phi, sigma_w, sigma_b, depth=depth, batch=batch).of_widths(widths)
        predicted = _expected(spread.below, spread.scale, counts)
    found = [
        _first_to_go(
            _magnitudes(widths, sigma_w, seed)
            if measure == "magnitude"
            else _sensitivities(phi, (sigma_w, sigma_b), widths, batch, seed)
        )
        for seed in draws
    ]
    values = tuple((each.removable + 1) / each.total for each in found)
    return CriticalSparsity(
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        values=values,
        layers=tuple(int(each.layer) for each in found),
        predicted=predicted,
    )


def _expected(below: Callable[[float], Tensor], scale: Tensor, counts: Tensor) -> float:
    """The fraction of all scores below the median of the least of the layers' best scores."""

    def excess(log_threshold: float) -> float:
        emptied = below(math.exp(log_threshold)).pow(counts).clamp_max(1 - 1e-15)
        return float(torch.log1p(-emptied).sum()) + math.log(2)

    low, high = math.log(float(scale.min())) - 40, math.log(float(scale.max())) + 10
    root: Any = brentq  # its stub tells of a tuple
    at = low if excess(low) <= 0 else float(root(excess, low, high, xtol=1e-10))  # a layer of zeros goes first of all
    return float(below(math.exp(at)) @ counts / counts.sum())


def _first_to_go(scores: Sequence[Tensor]) -> Critical:
    return largest_safe_sparsity({str(layer): score for layer, score in enumerate(scores, 1)})


def _magnitudes(widths: Sequence[int], sigma_w: float, seed: int) -> list[Tensor]:
    generator = stream(seed, "critical_sparsity")
    shapes = [(b, a) for a, b in pairwise(widths)]
    return [_drawn(shape, generator).abs() * sigma_w / math.sqrt(shape[1]) for shape in shapes]


def _sensitivities(
    phi: Activation, sigmas: tuple[float, float], widths: Sequence[int], batch: int, seed: int
) -> list[Tensor]:
    """|W dL/dW| of one network, layer by layer."""
    generator, (sigma_w, sigma_b) = stream(seed, "critical_sparsity"), sigmas
    with torch.inference_mode(False), torch.enable_grad():
        weights = [_drawn((b, a), generator).mul_(sigma_w / math.sqrt(a)).requires_grad_() for a, b in pairwise(widths)]
        y = _drawn((batch, widths[0]), generator)
        for weight in weights:
            y = phi(y) @ weight.T + sigma_b * _drawn((len(weight),), generator)
        loss = (phi(y) @ _drawn((widths[-1],), generator)).mean()
        gradient = torch.autograd.grad(loss, weights)
    return [(w.detach() * g).abs() for w, g in zip(weights, gradient, strict=True)]


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _widths(depth: int, width: int | Sequence[int]) -> list[int]:
    require_size("critical_sparsity(depth=)", depth)
    widths = [width] * (depth + 1) if isinstance(width, int) else list(width)
    if len(widths) != depth + 1:
        rule = f"a number, or {depth + 1} of them for {depth} layers, that of the input first"
        raise invalid("critical_sparsity(width=)", rule, width)
    for each in widths:
        require_size("critical_sparsity(width=)", each)
    return widths


def _check(sigma_w: float, sigma_b: float, measure: str, batch: int, seeds: Sequence[int]) -> None:
    if measure not in SCORES:
        raise unknown("critical_sparsity(measure=)", measure, SCORES)
    require_deviation("critical_sparsity(sigma_w=)", sigma_w, above=True)
    require_deviation("critical_sparsity(sigma_b=)", sigma_b)
    require_size("critical_sparsity(batch=)", batch)
    if not seeds:
        raise invalid("critical_sparsity(seeds=)", "at least one seed", list(seeds), "Pass range(5).")
