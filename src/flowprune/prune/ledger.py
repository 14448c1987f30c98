"""Which of the original units are alive: the denominator never moves, whatever was cut before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.core.units import Layout
from flowprune.masks import Masks, Scores


@dataclass(frozen=True, eq=False)
class Ledger:
    """The units of the original model, and where each of those left stands.

    Attributes:
        sizes: Original number of units by layer.
        alive: Original indices of the units left, by layer, in their present order.
        layout: The original layout.
        fingerprint: Of the original model.

    Example:
        >>> ledger = Ledger.open(Scores({"w": torch.ones(3)})).cut({"w": torch.tensor([True, False, True])})
        >>> ledger.removed, ledger.cut({"w": torch.tensor([False, True])}).masks()["w"]
        (1, tensor([False, False,  True]))
    """

    sizes: Mapping[str, int]
    alive: Mapping[str, Tensor]
    layout: Layout
    fingerprint: str | None = None

    @classmethod
    def open(cls, scores: Scores) -> Ledger:
        """All units alive."""
        sizes = {name: score.numel() for name, score in scores.items()}
        alive = {name: torch.arange(size) for name, size in sizes.items()}
        return cls(sizes, alive, scores.layout, scores.fingerprint)

    @classmethod
    def reopen(cls, masks: Masks) -> Ledger:
        """What :meth:`masks` said, as the ledger it came from."""
        alive = {name: mask.cpu().nonzero().flatten() for name, mask in masks.items()}
        return cls({name: mask.numel() for name, mask in masks.items()}, alive, masks.layout, masks.fingerprint)

    @property
    def total(self) -> int:
        """Original units."""
        return sum(self.sizes.values())

    @property
    def removed(self) -> int:
        """Units gone so far."""
        return self.total - sum(index.numel() for index in self.alive.values())

    def cut(self, masks: Mapping[str, Tensor]) -> Ledger:
        """The ledger after a cut given in present coordinates."""
        alive = {name: index[masks[name].cpu()] for name, index in self.alive.items()}
        return Ledger(self.sizes, alive, self.layout, self.fingerprint)

    def masks(self) -> Masks:
        """Everything cut so far, as masks of the original model."""
        result = {name: torch.zeros(size, dtype=torch.bool) for name, size in self.sizes.items()}
        for name, index in self.alive.items():
            result[name][index] = True
        return Masks(result, layout=self.layout, fingerprint=self.fingerprint)

    def require_same(self, scores: Mapping[str, Tensor]) -> None:
        """Raise where the scores are not of the units left."""
        for name, index in self.alive.items():
            if name not in scores or scores[name].numel() != index.numel():
                raise PruningError(
                    f"fp.Pruner must meet the model as it left it; layer {name!r} changed between two rounds. "
                    "Let one Pruner do all cuts of a model."
                )
