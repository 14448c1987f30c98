"""How much can go before a layer is emptied: the critical sparsity of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.core.tensors import require_finite
from flowprune.masks.lowest import racing
from flowprune.masks.threshold import Array, blocks


@dataclass(frozen=True)
class Critical:
    """The most that a global selection can remove.

    Attributes:
        layer: The layer that is emptied next.
        removable: Units that can go, those that are gone already included: with one more, ``layer`` is emptied.
        total: Units of all layers.
    """

    layer: str
    removable: int
    total: int

    @property
    def sparsity(self) -> float:
        """The largest sparsity that leaves every layer a unit."""
        return self.removable / self.total


def largest_safe_sparsity(scores: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None = None) -> Critical:
    """How much a global selection can remove before it empties a layer, and which layer that is.

    Formula: v = min over layers of the layer's best score. Of n units, those above v stay, and the first of each layer
    whose best is v: removable = n - #{score > v} - #{layers whose best is v}. Ties are broken as
    :func:`~flowprune.masks.select.select` breaks them: to the lower position, but a layer that would be emptied by a
    tie alone keeps its first tied unit, in the order of layers. So the last of the layers whose best is v is emptied
    next.

    Units: counts of units, over all layers of ``scores``. Shapes: any; layers without units are passed over.

    Assumes: one pool for all layers, no floor and nothing protected.

    Args:
        scores: Larger = keep.
        alive: Units that may stay at all, of the scores' layers and shapes; the others count as removed.

    Raises:
        ValueError: no scores, one that is NaN or infinite, or ``alive`` of other layers or shapes.
        PruningError: a layer has no unit alive.

    Example:
        >>> found = largest_safe_sparsity({"a": torch.tensor([5.0, 1.0, 4.0]), "b": torch.tensor([2.0, 3.0])})
        >>> found  # 5 and 4 are above 3, the best of b; 1 and 2 can go
        Critical(layer='b', removable=2, total=5)
        >>> found.sparsity
        0.4
    """
    _check(scores, alive)
    living = {name: racing(s, None if alive is None else alive[name]) for name, s in scores.items() if s.numel()}
    best = {name: _best(name, array, scores) for name, array in living.items()}
    lowest = min(best.values())
    above = sum(int(np.count_nonzero(block > lowest)) for array in living.values() for block in blocks(array))
    tied = [name for name, value in best.items() if value == lowest]
    total = sum(score.numel() for score in scores.values())
    return Critical(tied[-1], total - above - len(tied), total)


def _best(name: str, array: Array, scores: Mapping[str, Tensor]) -> Any:
    """The highest score of a layer, in float64: its comparison with narrower scores is exact."""
    if not array.size:
        raise PruningError(
            f"largest_safe_sparsity(alive=) must leave a unit in every layer; {name!r} has none. "
            "Leave that layer out of scores."
        )
    with np.errstate(all="ignore"):
        finite = np.isfinite(array.sum()) or np.isfinite(array).all()
    if not finite:
        require_finite("largest_safe_sparsity(scores=)", scores)
    return np.float64(array.max())


def _check(scores: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None) -> None:
    for name, score in scores.items():
        if not isinstance(score, Tensor):
            raise invalid(f"largest_safe_sparsity(scores=): scores of {name!r}", "a tensor", score)
        if alive is not None and (name not in alive or alive[name].shape != score.shape):
            rule = f"masks of the same layers and shapes as the scores ({name!r})"
            raise invalid("largest_safe_sparsity(alive=)", rule, alive)
        if alive is not None and alive[name].dtype != torch.bool:
            raise invalid(f"largest_safe_sparsity(alive=): mask of {name!r}", "boolean", alive[name].dtype)
    if not any(score.numel() for score in scores.values()):
        raise invalid("largest_safe_sparsity(scores=)", "at least one layer with units", dict(scores))
