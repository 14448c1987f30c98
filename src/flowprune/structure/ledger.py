"""The ledger of a walk: which axes of which tensors the atoms live on, and which atoms must be left whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch.fx import Node

from flowprune.core.units import Role
from flowprune.structure.atoms import Atoms, Ints
from flowprune.structure.call import flat
from flowprune.structure.lessons import Attribute, Lessons, Place, Split, Spot
from flowprune.structure.value import Dim, Leaf, Maker, Value

PRIORITY: tuple[Role, ...] = ("weight", "bias", "norm", "statistic", "input")
"""Where a tied tensor plays two parts, the first of these is its role."""


class Unexplained(Exception):  # noqa: N818 -- not an error: a rule says that it cannot prove its operation
    """A rule met what it has no proof for; everything that flows in and out is left whole."""


@dataclass(eq=False)
class Axis:
    """One axis of one tensor of the model.

    Attributes:
        name: Of the tensor.
        axis: Of the tensor.
        atoms: int64, one per position.
        roles: Every part it was seen to play.
        scored: Whether a measure reads it.
    """

    name: str
    axis: int
    atoms: Ints
    roles: set[Role] = field(default_factory=set[Role])
    scored: bool = False

    @property
    def role(self) -> Role:
        """The role that decides."""
        return next(role for role in PRIORITY if role in self.roles)

    @property
    def produces(self) -> bool:
        """Whether it makes channels, rather than following or reading them."""
        return self.scored and "weight" in self.roles


@dataclass(frozen=True, eq=False)
class Owned:
    """Entries of another tensor that belong to one producing weight alone: its bias, its norm.

    Attributes:
        name: Of the tensor.
        axis: Along which ``positions`` counts.
        positions: int64; for each position of the tensor, the position of the producing weight, or -1.
        along: The axis of the producing weight.
    """

    name: str
    axis: int
    positions: Ints
    along: int


class Ledger:
    """What the rules write down.

    The order of ``axes`` is the order of execution, which names the groups.
    """

    def __init__(self, depthwise: frozenset[str] = frozenset(), lessons: Lessons | None = None) -> None:
        self.depthwise = depthwise  # weights of convolution modules whose ``groups`` shrink with their channels
        self.lessons = Lessons() if lessons is None else lessons
        self.graph = 0
        self.atoms = Atoms()
        self.axes: dict[tuple[str, int], Axis] = {}
        self.makers: dict[str, int] = {}
        self.owned: dict[str, list[Owned]] = {}
        self.node: Node | None = None  # the one that is walked; none where the model's outputs are looked at
        self.frozen: list[tuple[Node | None, Ints]] = []
        self.refused: dict[tuple[Node, str], list[Ints]] = {}
        self.suspects: list[tuple[Node, Ints]] = []
        self.counted: dict[Spot, list[tuple[str, Ints]]] = {}
        self.splits: list[Split] = []
        self.heads: list[Ints] = []
        self.dims: dict[Spot, list[Dim | None]] = {}
        self.results: dict[Spot, list[Value]] = {}

    def axis(self, leaf: Leaf, dim: int, size: int, role: Role, *, scored: bool = False) -> Ints | None:
        """The atoms of the axis behind dimension ``dim`` of a leaf; ``None`` where it cannot be sliced."""
        if size == 0 or leaf.kind == "constant":
            return None
        key = (leaf.name, leaf.axes[dim])
        if key not in self.axes:
            self.axes[key] = Axis(*key, self.atoms.new(size))
        entry = self.axes[key]
        entry.roles.add(role)
        if role == "weight":
            self.makers.setdefault(*key)
        entry.scored |= scored
        return entry.atoms

    def data(self, node: Node, value: Value, role: Role = "bias", *, scored: bool = False) -> Value:
        """A tensor of the model used as an ordinary operand.

        A parameter's slices are zeroed with the units they belong to, so the zero proof holds for them; a buffer's
        are not; a constant cannot be sliced at all.
        """
        leaf = value.leaf
        if leaf is None:
            return value
        dims: list[Dim | None] = []
        for dim, size in enumerate(value.shape):
            atoms = self.axis(leaf, dim, size, role if value.parameter else "statistic", scored=scored)
            made = None if atoms is None else Dim(atoms)
            if made is not None and not value.parameter:
                made = made.broken(node, f"buffer {leaf.name!r} is not zeroed with the unit")
            dims.append(made)
        return Value(value.shape, tuple(dims))

    def link(self, dim: Dim | None, atoms: Ints | None) -> None:
        """A dimension and an axis are the same channels; where one of them is fixed, so is the other."""
        if dim is not None and atoms is not None:
            self.atoms.unify(dim.atoms, atoms)
        elif dim is not None:
            self.freeze(dim.atoms)
        elif atoms is not None:
            self.freeze(atoms)

    def own(self, dim: Dim | None, leaf: Leaf, axis: int) -> None:
        """Note that an axis of a leaf belongs to whichever weights alone made the dimension."""
        for maker, positions in dim.owners.items() if dim is not None else ():
            self.belongs(maker, leaf, axis, positions)

    def belongs(self, maker: Maker, leaf: Leaf, axis: int, positions: Ints) -> None:
        """Note that position i of an axis of a leaf belongs to ``positions[i]`` of the maker."""
        name, along = maker
        self.owned.setdefault(name, []).append(Owned(leaf.name, leaf.axes[axis], positions, along))

    def freeze(self, atoms: Ints) -> None:
        """Leave these whole because they meet, at the node that is walked, a tensor whose size is what it is."""
        self.frozen.append((self.node, atoms))

    def refuse(self, node: Node, reason: str, atoms: Iterable[Ints]) -> None:
        """Leave these whole because the node cannot be explained."""
        found = [a for a in atoms if len(a)]
        if found:
            self.refused.setdefault((node, reason), []).extend(found)

    def read(self, dim: Dim | None) -> None:
        """An operation adds up along this dimension: cut channels must be zero, or else they stay."""
        for item in dim.breaks if dim is not None else ():
            self.refuse(item.node, item.reason, [item.atoms])

    def suspect(self, node: Node, dim: Dim | None) -> None:
        """The node names the size of a dimension that shrinks: is it a number in the code, or computed?"""
        if dim is not None:
            self.suspects.append((node, dim.atoms))

    def count(self, node: Node, argument: str, atoms: Ints) -> None:
        """An argument of the node must be the number of these; :mod:`~flowprune.structure.trial` looks after a cut."""
        self.counted.setdefault(self.spot(node), []).append((argument, atoms))
        self.suspects.append((node, atoms))

    def spot(self, node: Node) -> Spot:
        """The node by name, as trials remember it."""
        return Spot(self.graph, node.name)

    def note(self, node: Node, taken: Iterable[Value], result: Value | list[Value]) -> None:
        """Write down what flows into and out of a node, and what its arguments count."""
        spot, given = self.spot(node), flat(result)
        flowing = [dim for value in (*taken, *given) for dim in value.dims]
        self.dims[spot] = flowing + [Dim(atoms) for _, atoms in self.counted.get(spot, ())]
        self.results[spot] = given

    def otherwise(self, dim: Dim) -> bool:
        """Whether a reshape has split these channels, and could have split them in another way."""
        open_ = (s for s in self.splits if s.options > 1 and s.spot not in self.lessons.exhausted)
        return any(np.isin(dim.atoms, split.atoms).any() for split in open_)

    def sizes(self) -> dict[Attribute, Ints]:
        """The attributes that count channels, as far as lessons say, and the channels."""
        found: dict[Attribute, Ints] = {}
        for attribute, place in self.lessons.sizes.items():
            dim = self._dim(place)
            if dim is not None:
                found[attribute] = dim.atoms
        return found

    def join(self) -> None:
        """Make channels one that one attribute counts."""
        for attribute, place in self.lessons.joined:
            first, other = (self._dim(at) for at in (self.lessons.sizes[attribute], place))
            if first is not None and other is not None and first.size == other.size:
                self.atoms.unify(first.atoms, other.atoms)

    def _dim(self, place: Place) -> Dim | None:
        dims = self.dims.get(place[0], [])
        return dims[place[1]] if place[1] < len(dims) else None

    def refused_atoms(self) -> Ints:
        """All atoms that are left whole because a node cannot be explained."""
        parts = [a for found in self.refused.values() for a in found]
        return np.concatenate([p.reshape(-1) for p in parts]) if parts else np.empty(0, np.int64)

    def stopped(self) -> Ints:
        """All atoms that are left whole for any reason."""
        parts = [*(atoms for _, atoms in self.frozen), *(a for found in self.refused.values() for a in found)]
        return np.concatenate([p.reshape(-1) for p in parts]) if parts else np.empty(0, np.int64)
