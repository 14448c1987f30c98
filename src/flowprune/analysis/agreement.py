"""How far two measures agree: on the order of the units, and on what they would keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.tensors import wide
from flowprune.masks.lowest import keep_highest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Agreement of two score dictionaries over the same units.

    Attributes:
        spearman: Correlation of ranks over all units together; ties share their mean rank. NaN where constant.
        pearson: Correlation of the values.
        overlap: Fraction of the units kept by the one that the other keeps too, at one sparsity.
        units: How many units were compared.
    """

    spearman: float
    pearson: float
    overlap: float
    units: int


@dataclass(frozen=True)
class Correlation:
    """Correlation of two score dictionaries over the same units; NaN where one is constant.

    Attributes:
        spearman: Of ranks; ties share their mean rank.
        pearson: Of values.
        units: How many units were compared.
    """

    spearman: float
    pearson: float
    units: int


def correlation(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Correlation:
    """Correlate two measures' scores over all their units together.

    Raises:
        ValueError: the layers or shapes differ.

    Example:
        >>> found = correlation({"w": torch.tensor([1.0, 2.0, 3.0])}, {"w": torch.tensor([1.0, 4.0, 3.0])})
        >>> found.spearman, found.units
        (0.5, 3)
    """
    _require_same("correlation()", a, b)
    x, y = _flat(a), _flat(b)
    return Correlation(pearson(_ranks(x), _ranks(y)), pearson(x, y), x.size)


def agreement(a: Mapping[str, Tensor], b: Mapping[str, Tensor], *, sparsity: float) -> Agreement:
    """Compare two measures' scores of the same units, globally.

    Two random kept sets overlap by 1 - sparsity: the baseline of ``overlap``.

    Raises:
        ValueError: the layers or shapes differ.

    Example:
        >>> a = {"w": torch.tensor([1.0, 2.0, 3.0, 4.0])}
        >>> b = {"w": torch.tensor([1.0, 4.0, 9.0, 16.0])}
        >>> agreement(a, b, sparsity=0.5).spearman, agreement(a, b, sparsity=0.5).overlap
        (1.0, 1.0)
    """
    found = correlation(a, b)
    total, cut = found.units, round(sparsity * found.units)
    # Nothing is cut here, so a layer of which neither keeps a unit is no error.
    kept = [keep_highest(scores, total - cut) for scores in (a, b)]
    both = sum(int((kept[0][name] & kept[1][name]).sum()) for name in a)
    return Agreement(found.spearman, found.pearson, both / (total - cut), total)


def _require_same(where: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        raise invalid(where, "given tensors of the same units", (list(a), list(b)))


def mask_distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Normalised Hamming distance of two masks: the fraction of units on which they differ.

    Source: You et al. (2020), Drawing Early-Bird Tickets, arXiv 1909.11957.

    Example:
        >>> mask_distance({"w": torch.tensor([True, False])}, {"w": torch.tensor([True, True])})
        0.5
    """
    _require_same("mask_distance()", a, b)
    differing = sum(int((a[name] != b[name]).sum()) for name in a)
    return differing / sum(mask.numel() for mask in a.values())


def pearson(x: Array, y: Array) -> float:
    """Pearson's correlation, NaN where one side is constant.

    Example:
        >>> pearson(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
        1.0
    """
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip((x @ y) / scale, -1.0, 1.0)) if scale > 0 else float("nan")


def _ranks(values: Array) -> Array:
    """Ranks from 0; ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2.0)[inverse]


def _flat(scores: Mapping[str, Tensor]) -> Array:
    return torch.cat([wide(value.reshape(-1)).cpu() for value in scores.values()]).numpy()
