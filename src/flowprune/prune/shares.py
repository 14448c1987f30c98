"""Pools of layers, and how many units each loses when k are removed of all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flowprune.core.errors import invalid
from flowprune.masks import Masks, Pool, Scope, apportion, floors, pools


@dataclass(frozen=True)
class Shares:
    """The pools of a scope, with the fewest and the most units that may be gone from each.

    Attributes:
        pools: Those with a sparsity of their own keep it; the others share what is removed besides.
        least: Units gone already, by pool.
        most: Units that may be gone, by pool.

    Example:
        >>> two = Pool(("a",), 4, 0.0), Pool(("b",), 8, 0.0)
        >>> [pool.remove for pool in Shares(two, (0, 0), (3, 8)).of(6)]
        [2, 4]
    """

    pools: tuple[Pool, ...]
    least: tuple[int, ...]
    most: tuple[int, ...]

    @classmethod
    def open(cls, alive: Masks, scope: Scope, most: Mapping[str, int], *, where: str, progress: float = 1.0) -> Shares:
        """Of the original units, True where alive, and how many of each layer may be gone.

        Sparsities that the scope names are taken to ``progress`` of themselves.

        Raises:
            ValueError: the scope names all sparsities, so that nothing is left to decide.
        """
        found = pools(alive, scope, 0.0, where=where)
        if all(pool.own for pool in found):
            todo = "Take a pattern out of scope=, or give no budget."
            raise invalid(f"{where}(scope=)", "one that leaves a layer without a sparsity of its own", scope, todo)
        gone = {name: count.total - count.kept for name, count in alive.per_layer().items()}
        least = [sum(gone[name] for name in pool.names) for pool in found]
        own = [
            pool
            if not pool.own
            else Pool(pool.names, pool.total, max(round(progress * pool.sparsity * pool.total), low) / pool.total, True)
            for pool, low in zip(found, least, strict=True)
        ]
        return cls(tuple(own), tuple(least), tuple(sum(most[name] for name in pool.names) for pool in found))

    @property
    def first(self) -> int:
        """The fewest units that may be gone from pools without a sparsity of their own."""
        return sum(low for pool, low in zip(self.pools, self.least, strict=True) if not pool.own)

    @property
    def last(self) -> int:
        """The most that may be gone from these."""
        return sum(high for pool, high in zip(self.pools, self.most, strict=True) if not pool.own)

    @property
    def total(self) -> int:
        """All units of these."""
        return sum(pool.total for pool in self.pools if not pool.own)

    def of(self, removed: int) -> tuple[Pool, ...]:
        """The pools, with the sparsities at which that many are gone from those without one of their own."""
        free = [i for i, pool in enumerate(self.pools) if not pool.own]
        least, most = [self.least[i] for i in free], [self.most[i] for i in free]
        counts = apportion(removed, [self.pools[i].total for i in free], least=least, most=most)
        share = dict(zip(free, counts, strict=True))
        return tuple(
            Pool(pool.names, pool.total, share[i] / pool.total) if i in share else pool
            for i, pool in enumerate(self.pools)
        )


def most_gone(alive: Masks, floor: float | None, protected: Collection[str]) -> dict[str, int]:
    """How many units of each layer may be gone at most.

    Args:
        alive: The original units.
        floor: The fraction of a layer that stays, see :func:`~flowprune.masks.select.floors`; None for one unit.
        protected: Layers of which no more goes.

    Example:
        >>> import torch
        >>> most_gone(Masks({"a": torch.ones(8, dtype=torch.bool)}), 0.25, ())
        {'a': 5}
    """
    layers = alive.per_layer()
    keep = dict.fromkeys(layers, 1) if floor is None else floors({n: count.total for n, count in layers.items()}, floor)
    spare = {name for name, group in alive.layout.items() if not group.least}
    return {
        name: count.total - (count.kept if name in protected else min(keep[name] - (name in spare), count.kept))
        for name, count in layers.items()
    }
