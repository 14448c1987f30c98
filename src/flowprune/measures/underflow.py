"""Scores that are too small for their type: where they round to zero, all tie, and positions would decide."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def underflowing(scores: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The layers of which not even the largest score has all of its digits, in a type narrower than float64.

    A layer that is dead has scores of zero as well; in float64 they are zero still.

    Units: below the smallest normal number of the type, divided by its precision: 1e-31 in float32.

    Example:
        >>> underflowing({"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([1e-40, 0.0])})
        ('b',)
        >>> underflowing({"b": torch.tensor([1e-40, 0.0], dtype=torch.float64)})
        ()
    """
    return tuple(name for name, score in scores.items() if score.numel() and _lost(score))


def _lost(score: Tensor) -> bool:
    if score.dtype == torch.float64 or not score.is_floating_point():
        return False
    info = torch.finfo(score.dtype)
    low, high = torch.aminmax(score)
    return max(-float(low), float(high)) < info.tiny / info.eps
