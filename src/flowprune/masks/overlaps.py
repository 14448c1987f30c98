"""How much two masks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowprune.core.arguments import require_masks
from flowprune.core.errors import invalid


class Shared(NamedTuple):
    """How many units two masks both keep, and how many at least one of them does."""

    both: int
    either: int

    @property
    def jaccard(self) -> float:
        """Both / either; 1 where neither keeps any: they agree."""
        return self.both / self.either if self.either else 1.0


@dataclass(frozen=True)
class Overlap:
    """What two masks have in common.

    Attributes:
        layers: Of each layer, by name.
    """

    layers: Mapping[str, Shared]

    @property
    def total(self) -> Shared:
        """Of all layers together, counted unit by unit: not the mean over layers."""
        return Shared(sum(s.both for s in self.layers.values()), sum(s.either for s in self.layers.values()))


def overlap(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Overlap:
    """The units that two masks both keep, of those that either keeps, by layer and in total.

    Formula: the Jaccard index, both / either: 1 for equal masks, 0 for masks without a common unit. Two random masks
    of density d have about d / (2 - d).

    Args:
        a: Masks by name, True = kept.
        b: Masks of the same names and shapes.

    Raises:
        ValueError: no masks, or other names or shapes.

    Example:
        >>> found = overlap({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([True, False, True])})
        >>> found.layers["w"], round(found.total.jaccard, 3)
        (Shared(both=1, either=3), 0.333)
    """
    require_masks("overlap", a)
    require_masks("overlap", b)
    if a.keys() != b.keys():
        raise invalid("overlap(masks=)", "of the same layers", sorted(a.keys() ^ b.keys()))
    for name in a:
        if a[name].shape != b[name].shape or a[name].dtype != torch.bool or b[name].dtype != torch.bool:
            got = [(mask.dtype, tuple(mask.shape)) for mask in (a[name], b[name])]
            raise invalid(f"overlap(masks=): {name!r}", "two boolean masks of one shape", got)
    return Overlap({name: _shared(mask, b[name].to(mask.device)) for name, mask in a.items()})


def _shared(a: Tensor, b: Tensor) -> Shared:
    return Shared(int(torch.count_nonzero(a & b)), int(torch.count_nonzero(a | b)))
