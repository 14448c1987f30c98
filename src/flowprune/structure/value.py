"""What is known of a tensor in the graph: for each dimension, which atom each index is, and whether it can be zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from torch.fx import Node

from flowprune.structure.atoms import Ints

Maker: TypeAlias = tuple[str, int]
"""A weight, and its axis that makes channels: a tied weight may make some along either."""


@dataclass(frozen=True, eq=False)
class Break:
    """Where a cut channel stopped being zero: from this node on, these atoms may not be read.

    Attributes:
        node: The operation that makes something of nothing.
        reason: Why, in words.
        atoms: The atoms whose channels are no longer zero.
    """

    node: Node
    reason: str
    atoms: Ints


@dataclass(frozen=True, eq=False)
class Dim:
    """One dimension that shrinks when units are cut.

    Index i along it belongs to ``atoms[i]``. If that atom is masked, the slice at i is exactly zero, in both modes,
    unless ``breaks`` says otherwise.

    Attributes:
        atoms: int64 ``(size,)``.
        breaks: Why some atoms are not zero here; empty where the proof holds.
        owners: For each axis of a weight that made this dimension alone, the position there (-1: none) of each index.
        follows: Whether the maker is a depthwise filter, which only follows the channel it filters.
    """

    atoms: Ints
    breaks: tuple[Break, ...] = ()
    owners: Mapping[Maker, Ints] = field(default_factory=dict["Maker", Ints])
    follows: bool = False

    @property
    def size(self) -> int:
        """The number of indices."""
        return len(self.atoms)

    def take(self, index: Ints) -> Dim:
        """The dimension whose index i is this one's ``index[i]``."""
        owners = {maker: positions[index] for maker, positions in self.owners.items()}
        return replace(self, atoms=self.atoms[index], owners=owners)

    def broken(self, node: Node, reason: str) -> Dim:
        """The same after an operation that turns zeros into something."""
        if self.breaks and np.isin(self.atoms, np.concatenate([item.atoms for item in self.breaks])).all():
            return self  # the first operation that breaks the proof is the one to name
        return replace(self, breaks=(*self.breaks, Break(node, reason, self.atoms)))

    def whole(self) -> Dim:
        """The same with the zero proof restored: a scale and a shift that are themselves zero came after."""
        return replace(self, breaks=())


@dataclass(frozen=True)
class Leaf:
    """A parameter, buffer or constant of the model, perhaps with its axes permuted.

    Attributes:
        name: Its one name: of tied tensors, the first.
        kind: A constant is a tensor that the module does not register, so nothing can slice it.
        axes: The tensor's axis behind each dimension of the value.
    """

    name: str
    kind: Literal["parameter", "buffer", "constant"]
    axes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        shape: As exported.
        dims: For each dimension what shrinks, or ``None`` where nothing may: inputs, batch, space, size one.
        leaf: Set while the value still is a tensor of the model itself; then ``dims`` is not used.
    """

    shape: tuple[int, ...]
    dims: tuple[Dim | None, ...]
    leaf: Leaf | None = None

    @property
    def parameter(self) -> bool:
        """Whether this is a parameter itself: a thing that can be cut and zeroed."""
        return self.leaf is not None and self.leaf.kind == "parameter"


def fixed(shape: tuple[int, ...]) -> Value:
    """A value none of whose dimensions may shrink."""
    return Value(shape, (None,) * len(shape))
