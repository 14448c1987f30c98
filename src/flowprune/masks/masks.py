"""Masks: what is kept (True) and what is cut (False), by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.groups import Groups, channelwise, units_of
from flowprune.core.tensors import count_true
from flowprune.masks.counted import Counted


class LayerCount(NamedTuple):
    """How many units of a layer are kept, of how many."""

    kept: int
    total: int

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Fraction removed."""
        return 1.0 - self.density


class Scores(Mapping[str, Tensor]):
    """Scores by name, larger = keep, with the layout of the units they belong to.

    ``fingerprint`` and ``point`` are those of the signals: of the model, and of its weights.

    ``reached`` says, by name and in booleans, which units have a rank at all (some measures look only so far); a
    selection that would keep another one is refused. Without it all have one.

    Example:
        >>> Scores({"w": torch.tensor([1.0, 2.0])})["w"]
        tensor([1., 2.])
    """

    def __init__(
        self,
        scores: Mapping[str, Tensor],
        *,
        layout: Groups | None = None,
        fingerprint: str | None = None,
        reached: Mapping[str, Tensor] | None = None,
        point: str | None = None,
    ) -> None:
        self._scores = dict(scores)
        self.layout: Groups = dict(layout or {})
        self.fingerprint = fingerprint
        self.point = point
        self.reached = None if reached is None else dict(reached)

    def __getitem__(self, name: str) -> Tensor:
        return self._scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __repr__(self) -> str:
        units = sum(score.numel() for score in self.values())
        return f"Scores({len(self)} layers, {units} {units_of(self.layout)})"


class Masks(Counted, Mapping[str, Tensor]):
    """Boolean tensors by name, True = kept, with the layout of their units and the fingerprint of their model.

    ``point`` names the weights that they were chosen at. Masks that were put together, accumulated over rounds or read
    from a file are of no one set of weights, and have none.

    Shapes: with a layout, ``masks[group]`` is ``group.shape``, one number a channel; without, a tensor of the
    parameter's shape, or ``(out_channels,)`` for whole slices of a weight's first axis.

    Assumes: ``sparsity`` counts units over all tensors of the masks: cut / all.

    Example:
        >>> masks = Masks({"w": torch.tensor([True, False, True, True])})
        >>> masks.sparsity, masks.density, masks.per_layer()["w"]
        (0.25, 0.75, LayerCount(kept=3, total=4))
    """

    def __init__(
        self,
        masks: Mapping[str, Tensor],
        *,
        layout: Groups | None = None,
        fingerprint: str | None = None,
        point: str | None = None,
    ) -> None:
        for name, mask in masks.items():
            if mask.dtype != torch.bool:
                raise invalid(f"Masks({name!r})", "a boolean tensor, True = kept", mask.dtype)
        self._masks = dict(masks)
        self.layout: Groups = dict(layout or {})
        self.fingerprint = fingerprint
        self.point = point

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def at_any_weights(self) -> Masks:
        """The same masks without the weights they were chosen at, to be asked of others of the same model."""
        return Masks(self._masks, layout=self.layout, fingerprint=self.fingerprint)

    @property
    def channelwise(self) -> bool:
        """Whether they are of whole channels, which can be removed; masks of weights and blocks are held at zero."""
        return channelwise(self.layout)

    @property
    def total(self) -> int:
        """The number of units: the denominator."""
        return sum(mask.numel() for mask in self.values())

    @property
    def kept(self) -> int:
        """The number of units kept."""
        return sum(count_true(mask) for mask in self.values())

    def per_layer(self) -> dict[str, LayerCount]:
        """Kept and total units of each layer."""
        return {name: LayerCount(count_true(mask), mask.numel()) for name, mask in self.items()}

    def save(self, path: str | Path) -> Path:
        """Write packed bits as safetensors and a JSON file beside it; see :mod:`flowprune.masks.storage`."""
        from flowprune.masks.storage import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Masks:
        """Read what :meth:`save` wrote; a damaged file raises."""
        from flowprune.masks.storage import load

        return load(path)

    def __repr__(self) -> str:
        units = units_of(self.layout)
        return f"Masks({len(self)} layers, {self.kept} of {self.total} {units} kept, sparsity {self.sparsity:.4f})"
