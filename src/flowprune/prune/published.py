"""Which channels the founding paper's published code cuts, where that differs from what it says it cuts.

For comparison with numbers made by that code alone (``reference_compat=True``). Three behaviours, each otherwise
replaced by the right one:

- the floor of "at most 95 % per layer" protects the *last* channels of a layer, not its best (Q3);
- a channel that a depthwise convolution filters counts twice, once for each of its norms (Q5);
- in a masked residual network, units that were cut before compete again with a score of exactly zero: where scores
  have a sign, they rank above live ones, count as kept, and live ones go in their place (Q6). There each layer keeps at
  least one unit, given back after the count, so that fewer go than were asked for.

Source: EkdeepSLubana/flowandprune, read as described in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.core.units import Layout
from flowprune.masks import floors
from flowprune.prune.ledger import Ledger

FLOOR = 0.05


def lowest_as_published(
    pool: Mapping[str, Tensor], ledger: Ledger, target: float, *, protected: Sequence[str]
) -> dict[str, Tensor]:
    """Masks of the units present that the published code keeps.

    Args:
        pool: Scores of the units present, larger = keep.
        ledger: What was cut before.
        target: Fraction of the original entries to be gone.
        protected: Layers of which nothing is cut.

    Raises:
        PruningError: nothing is left to cut.
    """
    masked = any(ledger.stays(name) for name in pool)
    weight = {name: 1 if masked else entries(ledger.layout, name) for name in pool}
    size = sum(ledger.sizes[name] * weight[name] for name in pool)
    here = sum(score.numel() * weight[name] for name, score in pool.items())
    remove = round(target * size) - (size - here)  # masked units are still there and may be cut again
    ranked = {n: torch.where(ledger.living[n].to(s.device), s, 0) for n, s in pool.items()} if masked else dict(pool)
    locked = {name: _locked(score, ledger.sizes[name], name in protected, masked) for name, score in ranked.items()}
    kept = _cut(ranked, locked, weight, remove)
    return {name: _with_one(mask, ranked[name]) for name, mask in kept.items()} if masked else kept


def entries(layout: Layout, name: str) -> int:
    """How often the published ranking counts a channel: once, and once more for each depthwise filter on it.

    Example:
        >>> from flowprune.core.units import Member, UnitGroup, rows
        >>> one = rows("stem.weight", 2).members[0]
        >>> filtered = Member("depthwise.weight", 0, one.positions, one.units, "weight", scored=False)
        >>> entries({"stem.weight": UnitGroup("stem.weight", 2, (one, filtered))}, "stem.weight")
        2
    """
    if name not in layout:
        return 1
    return 1 + sum(member.role == "weight" and not member.scored for member in layout[name].members)


def _locked(score: Tensor, size: int, protected: bool, masked: bool) -> Tensor:
    """The units that cannot go: all of a protected layer; the last ones of any other, where nothing is masked."""
    lock = torch.full_like(score, protected, dtype=torch.bool)
    if not masked:
        lock[-floors({"": size}, FLOOR)[""] :] = True
    return lock


def _cut(
    scores: Mapping[str, Tensor], locked: Mapping[str, Tensor], weight: Mapping[str, int], remove: int
) -> dict[str, Tensor]:
    """Cut in ascending order until as many entries are gone; a unit whose entries do not all fit stays."""
    score = torch.cat([value.reshape(-1) for value in scores.values()])
    count = torch.cat([torch.full_like(value, weight[name], dtype=torch.long) for name, value in scores.items()])
    free = ~torch.cat(list(locked.values()))
    if remove > int(count[free].sum()):
        raise PruningError(
            f"Pruner(reference_compat=True) must be able to cut {remove} entries; {int(count[free].sum())} are free. "
            "Lower the sparsity."
        )
    order = torch.argsort(score, stable=True)
    order = order[free[order]]
    gone = order[torch.cumsum(count[order], 0) <= remove]
    keep = torch.ones_like(free)
    keep[gone] = False
    return dict(zip(scores, keep.split([value.numel() for value in scores.values()]), strict=True))


def _with_one(mask: Tensor, score: Tensor) -> Tensor:
    """The mask, with its best unit given back where it had lost them all."""
    if bool(mask.any()):
        return mask
    mask = mask.clone()
    mask[score.argmax()] = True
    return mask
