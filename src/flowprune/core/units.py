"""Units: which entries of which tensors live and die together.

A *unit* is what is kept or cut whole: a channel with every slice that belongs to it. A *group* is a set of
units that share their tensors, named after the weight that produces them. It says, for each tensor, which
positions along one axis belong to which unit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

Role = Literal["weight", "bias", "norm", "statistic", "input", "size"]
"""What a slice is to its unit.

weight, bias, norm: these produce the channel; zero them all and the channel is exactly zero everywhere.
statistic: running statistics; they shrink with the unit but are not zeroed.
input: the axis of a later weight that reads the channel; it shrinks with the unit but is not zeroed.
size: no tensor, but an integer attribute of a module that counts the channels, such as ``num_heads``.
"""

Kind = Literal["channels", "heads", "depth"]
"""What the units of a group are: channels, heads of attention with all channels of each, or whole modules."""

Members = Literal["producers", "group"]

MEMBERS: Final[tuple[Members, ...]] = ("producers", "group")
"""Which slices of a unit are read: those that make it (the founding paper), or all weights that touch it."""


@dataclass(frozen=True, eq=False)
class Member:
    """The positions along one axis of one tensor that belong to the units of a group.

    Attributes:
        name: Parameter or buffer name in the model; for a size, the path of the attribute.
        axis: The axis the positions count along; 0 for a size.
        positions: int64 ``(m,)``, positions along the axis; none repeats.
        units: int64 ``(m,)``, the unit each position belongs to.
        role: See :data:`Role`.
        scored: Whether a measure reads this tensor: the producing weights and their norms are; a depthwise
            filter, which only follows the channel it filters, is not.
    """

    name: str
    axis: int
    positions: Tensor
    units: Tensor
    role: Role
    scored: bool = True

    @property
    def zeroed(self) -> bool:
        """Whether masking a unit sets these entries to zero."""
        return self.role in ("weight", "bias", "norm")

    def add_up(self, value: Tensor, size: int) -> Tensor:
        """The sum by unit, ``(size,)``, of a tensor of this member's shape."""
        others = [axis for axis in range(value.dim()) if axis != self.axis]
        along = value.sum(others) if others else value
        units, positions = self.units.to(along.device), self.positions.to(along.device)
        return along.new_zeros(size).index_add(0, units, along[positions])

    def lay(self, mask: Tensor, param: Tensor) -> Tensor:
        """A mask of units along the axis, in a shape that broadcasts; positions that belong to no unit stay."""
        keep = torch.ones(param.shape[self.axis], dtype=torch.bool, device=mask.device)
        keep[self.positions.to(mask.device)] = mask[self.units.to(mask.device)]
        shape = [1] * param.dim()
        shape[self.axis] = -1
        return keep.view(shape)


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """``size`` units that share tensors; ``name`` is the weight that produces them first.

    Attributes:
        name: Of the group.
        size: How many units.
        members: The slices that belong to them.
        removable: Whether cutting a unit takes its channel out of the model. Where it is False, other weights feed the
            same channel (one branch of a residual stream): a unit that is cut becomes zero, and its tensors keep their
            size.
        kind: What its units are.
        modules: The paths of the modules that are the units, in order; empty where units are slices of tensors.
        least: How many units must stay; 0 where the model keeps something in the place of the group without them.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    removable: bool = True
    kind: Kind = "channels"
    modules: tuple[str, ...] = ()
    least: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of scores and masks: one number a unit."""
        return (self.size,)

    @property
    def unit(self) -> str:
        """What the units are called."""
        return "units"

    @property
    def channelwise(self) -> bool:
        """A unit is a whole output."""
        return True

    @property
    def sparsity(self) -> None:
        """Any will do."""

    @property
    def structure(self) -> Hashable:
        """The kind of its units, and the parts of one.

        For every tensor that a unit has a slice of: its role, its axis, and how many positions the slice has (a channel
        that is read through 3 x 3 flattened places has 9). The number of units does not count: a stage of 64 channels
        and one of 128 are built alike. Of modules: which tensors they have, as a set, whatever their sizes.
        """
        if self.kind == "depth":
            each: dict[int, list[tuple[Role, int]]] = {}
            for member in self.members:
                each.setdefault(int(member.units[0]), []).append((member.role, member.axis))
            return self.kind, self.removable, frozenset(tuple(sorted(parts)) for parts in each.values())
        tensors = (m for m in self.members if m.role != "size")
        parts = sorted((m.role, m.axis, m.scored, len(m.positions) / self.size) for m in tensors)
        return self.kind, self.removable, tuple(parts)

    def read(self, on: Role, members: Members = "producers") -> tuple[str, ...]:
        """The scored tensors of a role; of the whole group, also those of weights that read or filter its units."""
        return tuple(dict.fromkeys(member.name for member in self._read(on, members)))

    def total(self, values: Mapping[str, Tensor], on: Role, members: Members = "producers") -> Tensor | None:
        """The sum of the slices of each unit, ``(size,)``, over the tensors read that have values."""
        read = [member for member in self._read(on, members) if member.name in values]
        parts = [member.add_up(values[member.name], self.size) for member in read]
        return sum(parts[1:], start=parts[0]) if parts else None

    def _read(self, on: Role, members: Members) -> list[Member]:
        whole = members == "group"
        return [m for m in self.members if (m.role == on and (m.scored or whole)) or (whole and m.role == "input")]

    def spread(self, mask: Tensor, params: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The mask laid over everything that produces a unit: filter, bias, and the norm's scale and shift."""
        for member in self.members:
            if member.zeroed and member.name in params:
                yield member.name, member.lay(mask, params[member.name])

    def fan_in(self, params: Mapping[str, Tensor], members: Members = "producers") -> Tensor:
        """The weights of each unit that are read, counted."""
        ones = {name: torch.ones_like(params[name]) for name in self.read("weight", members) if name in params}
        total = self.total(ones, "weight", members)
        return torch.zeros(self.size) if total is None else total

    def required(self, scores: Tensor, alive: Tensor | None) -> Tensor | None:
        """The best unit of each part of the group that an attribute counts: a part of no channels does not run.

        Example:
            >>> members = rows("w", 3).members + (Member("d", 0, torch.arange(2), torch.arange(2), "size"),)
            >>> UnitGroup("w", 3, members).required(torch.tensor([1.0, 2.0, 3.0]), None)
            tensor([False,  True, False])
        """
        parts = [m.units for m in self.members if m.role == "size" and len(m.units.unique()) < self.size]
        stays = torch.zeros(self.size, dtype=torch.bool, device=scores.device)
        for units in (part.to(scores.device) for part in parts):
            living = units if alive is None else units[alive.to(scores.device)[units]]
            if len(living):
                stays[living[scores[living].argmax()]] = True
        return stays if parts else None


Layout = Mapping[str, UnitGroup]
"""Groups by name. An entry that is not in a layout is scored weight by weight."""


def rows(name: str, size: int) -> UnitGroup:
    """The plain group of a weight by itself: unit c is slice c of axis 0.

    Example:
        >>> rows("fc.weight", 3).size
        3
    """
    index = torch.arange(size)
    return UnitGroup(name, size, (Member(name, 0, index, index, "weight"),))
