"""Which of the original units are alive: the denominator never moves, whatever was cut before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.core.groups import channels_of
from flowprune.core.units import Layout
from flowprune.masks import Masks, Scores
from flowprune.structure.depth import moved


@dataclass(frozen=True, eq=False)
class Ledger:
    """The units of the original model, where each of those present stands, and which of them are alive.

    A unit that can be removed is present as long as it is alive. One branch of a residual stream keeps its units when
    they are cut: they are present, at zero, and no longer alive.

    Attributes:
        sizes: Original number of units by layer.
        present: Original indices of the units that the model still holds, by layer, in their present order.
        living: Boolean by layer: which of those present are alive.
        layout: The original layout.
        fingerprint: Of the original model.

    Example:
        >>> ledger = Ledger.open(Scores({"w": torch.ones(3)})).cut({"w": torch.tensor([True, False, True])})
        >>> ledger.removed, ledger.cut({"w": torch.tensor([False, True])}).masks()["w"]
        (1, tensor([False, False,  True]))
    """

    sizes: Mapping[str, int]
    present: Mapping[str, Tensor]
    living: Mapping[str, Tensor]
    layout: Layout
    fingerprint: str | None = None

    @classmethod
    def open(cls, scores: Scores) -> Ledger:
        """All units alive."""
        sizes = {name: score.numel() for name, score in scores.items()}
        present = {name: torch.arange(size) for name, size in sizes.items()}
        living = {name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()}
        layout = channels_of("Ledger.open(scores=)", scores.layout)
        return cls(sizes, present, living, layout, scores.fingerprint)

    @classmethod
    def reopen(cls, masks: Masks) -> Ledger:
        """What :meth:`masks` said, as the ledger it came from."""
        whole = cls.open(Scores(dict(masks.items()), layout=masks.layout, fingerprint=masks.fingerprint))
        return whole.cut(masks)

    @property
    def total(self) -> int:
        """Original units."""
        return sum(self.sizes.values())

    @property
    def alive(self) -> int:
        """Units left."""
        return sum(int(living.sum()) for living in self.living.values())

    @property
    def removed(self) -> int:
        """Units cut so far, those that stand there at zero included."""
        return self.total - self.alive

    def stays(self, name: str) -> bool:
        """Whether the units of a layer stay in place when they are cut."""
        return name in self.layout and not self.layout[name].removable

    def cut(self, masks: Mapping[str, Tensor]) -> Ledger:
        """The ledger after a cut given in present coordinates."""
        present, living = dict(self.present), dict(self.living)
        for name, index in self.present.items():
            mask = masks[name].cpu() if name in masks else torch.empty(0, dtype=torch.bool)
            present[name] = index if self.stays(name) else index[mask]
            living[name] = mask if self.stays(name) else self.living[name][mask]
        return replace(self, present=present, living=living)

    def masks(self) -> Masks:
        """Everything cut so far, as masks of the original model."""
        result = {name: torch.zeros(size, dtype=torch.bool) for name, size in self.sizes.items()}
        for name, index in self.present.items():
            result[name][index] = self.living[name]
        return Masks(result, layout=self.layout, fingerprint=self.fingerprint)

    def _gone_modules(self) -> list[str]:
        """The original paths of the blocks that were cut."""
        return [
            path
            for name, group in self.layout.items()
            for path in [m for i, m in enumerate(group.modules) if i not in set(self.present[name].tolist())]
        ]

    def require_same(self, scores: Mapping[str, Tensor]) -> None:
        """Raise where the scores are not of the units present."""
        layout, gone = getattr(scores, "layout", None) or {}, self._gone_modules()
        for name, index in self.present.items():
            if not index.numel() and name not in scores:
                continue  # all blocks of a container are gone
            same = name in scores and scores[name].numel() == index.numel()
            if same and name in layout and layout[name].modules:
                original = [self.layout[name].modules[i] for i in index.tolist()]
                same = layout[name].modules == tuple(moved(path, gone) for path in original)
            if not same:
                raise PruningError(
                    f"fp.Pruner must meet the model as it left it; layer {name!r} changed between two rounds. "
                    "Let one Pruner do all cuts of a model."
                )
