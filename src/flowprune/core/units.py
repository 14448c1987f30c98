"""Units: which entries of which tensors live and die together.

A *unit* is what is kept or cut whole: a channel with every slice that belongs to it. A *group* is a set of
units that share their tensors, named after the weight that produces them. It says, for each tensor, which
positions along one axis belong to which unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Role = Literal["weight", "bias", "norm", "statistic", "input"]
"""What a slice is to its unit.

weight, bias, norm: these produce the channel; zero them all and the channel is exactly zero everywhere.
statistic: running statistics; they shrink with the unit but are not zeroed.
input: the axis of a later weight that reads the channel; it shrinks with the unit but is not zeroed.
"""


@dataclass(frozen=True, eq=False)
class Member:
    """The positions along one axis of one tensor that belong to the units of a group.

    Attributes:
        name: Parameter or buffer name in the model.
        axis: The axis the positions count along.
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
        kind: What a unit is: ``"channels"``, or ``"depth"``: a module.
        modules: The paths of the modules that are the units, in order; empty where units are slices of tensors.
        least: How many units must stay; 0 where the model keeps something in the place of the group without them.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    removable: bool = True
    kind: str = "channels"
    modules: tuple[str, ...] = ()
    least: int = 1


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
