"""How much of each layer goes: whole numbers of weights, read as sparsities by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowprune.core.errors import invalid
from flowprune.masks.counted import Counted
from flowprune.masks.masks import LayerCount


class Allocation(Counted, Mapping[str, float]):
    """The sparsity of each layer by name, made of whole numbers of weights kept.

    Formula: ``allocation[name]`` = (total - kept) / total, so that ``round(allocation[name] * total)`` is total - kept
    to the weight. Hence ``fp.select(scores, sparsity=allocation)`` and ``fp.prune(model, scope=allocation, ...)`` keep
    exactly ``kept``.

    Args:
        kept: Weights that stay, of each layer.
        totals: Weights that each layer has.

    Raises:
        ValueError: other layers in one than in the other, or a layer that keeps none, or more than it has.

    Example:
        >>> allocation = Allocation({"a": 3, "b": 2}, {"a": 4, "b": 2})
        >>> dict(allocation), allocation.density, allocation.dense
        ({'a': 0.25, 'b': 0.0}, 0.8333333333333334, ('b',))
    """

    def __init__(self, kept: Mapping[str, int], totals: Mapping[str, int]) -> None:
        if kept.keys() != totals.keys():
            raise invalid("Allocation(kept=)", "of the layers of totals", sorted(kept.keys() ^ totals.keys()))
        for name, count in kept.items():
            if not 1 <= count <= totals[name]:
                raise invalid(f"Allocation(kept=): {name!r}", f"between 1 and {totals[name]}", count)
        self._layers = {name: LayerCount(kept[name], total) for name, total in totals.items()}

    def __getitem__(self, name: str) -> float:
        count = self._layers[name]
        return (count.total - count.kept) / count.total

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def per_layer(self) -> dict[str, LayerCount]:
        """Kept and total weights of each layer."""
        return dict(self._layers)

    @property
    def total(self) -> int:
        """The number of weights: the denominator."""
        return sum(count.total for count in self._layers.values())

    @property
    def kept(self) -> int:
        """The number of weights kept."""
        return sum(count.kept for count in self._layers.values())

    @property
    def compression_ratio(self) -> float:
        """Weights / weights kept."""
        return self.total / self.kept

    @property
    def dense(self) -> tuple[str, ...]:
        """The layers of which nothing goes."""
        return tuple(name for name, count in self._layers.items() if count.kept == count.total)

    def __repr__(self) -> str:
        return (
            f"Allocation({len(self)} layers, {self.kept} of {self.total} weights kept, density {self.density:.4f}, "
            f"sparsity {self.sparsity:.4f}, compression {self.compression_ratio:.1f}x, dense {list(self.dense)})"
        )
