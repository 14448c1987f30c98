"""Spearman's correlation of two scores of the same units: over all, within layers, by a factor they share; in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from flowprune.analysis.agreement import agreement
from flowprune.core.seeds import stream

Named = Mapping[str, Tensor]
STRENGTHS = ((0.1, "negligible"), (0.3, "weak"), (0.5, "moderate"), (math.inf, "strong"))
"""Least |ρ| that is no longer called so."""


def spearman(a: Named, b: Named | None) -> float:
    """Spearman's correlation over all units together; NaN where one side is constant, or missing."""
    return math.nan if b is None else agreement(a, b, sparsity=0.0).spearman


def spearman_within(a: Named, b: Named | None) -> float:
    """The mean over layers of Spearman's correlation within each; layers of fewer than three units say nothing.

    Example:
        >>> a = {"u": torch.tensor([1.0, 2.0, 3.0]), "v": torch.tensor([7.0, 8.0, 9.0])}
        >>> spearman_within(a, {"u": torch.tensor([3.0, 4.0, 5.0]), "v": torch.tensor([2.0, 1.0, 0.0])})
        0.0
    """
    if b is None:
        return math.nan
    found = [spearman({name: a[name]}, {name: b[name]}) for name in a if a[name].numel() >= 3]
    known = [value for value in found if math.isfinite(value)]
    return statistics.fmean(known) if known else math.nan


def by_shared_factor(scores: Named, factor: Named, *, seed: int) -> dict[str, Tensor]:
    """Scores whose ratio to a factor of theirs is dealt anew to the units of the layer.

    Loss preservation is magnitude times what the gradient makes of it, so the two agree even where the gradient
    knows nothing of the parameters. This is what they would then be: the baseline of Observation 3.

    Example:
        >>> by_shared_factor({"w": torch.tensor([2.0, 4.0])}, {"w": torch.tensor([1.0, 2.0])}, seed=0)["w"]
        tensor([2., 4.])
    """
    return {name: factor[name] * _shuffled(_ratio(value, factor[name]), name, seed) for name, value in scores.items()}


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, torch.zeros_like(a), a / b)


def _shuffled(values: Tensor, name: str, seed: int) -> Tensor:
    order = torch.randperm(values.numel(), generator=stream(seed, "shared_factor", name))
    return values[order.to(values.device)]


def strength(correlation: float) -> str:
    """How strong a correlation is, in words.

    Source: Cohen (1988), Statistical Power Analysis for the Behavioral Sciences: 0.1 small, 0.3 medium, 0.5 large.

    Example:
        >>> strength(0.2), strength(-0.6)
        ('weak', 'strong and negative')
    """
    word = next(word for limit, word in STRENGTHS if abs(correlation) < limit)
    return f"{word} and negative" if correlation <= -STRENGTHS[0][0] else word
