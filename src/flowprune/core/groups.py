"""What a granularity makes of a model: groups of units that are scored, ranked and cut alike.

A group is a linear map between the entries of some tensors and its units. :meth:`Group.total` adds up entries by
unit, :meth:`Group.spread` lays a mask of units over the entries: the same map, read backwards.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Protocol

from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.units import Layout, Members, Role, UnitGroup


class Group(Protocol):
    """Units that share their tensors: channels (:class:`~flowprune.core.units.UnitGroup`), or parts of one weight."""

    @property
    def name(self) -> str:
        """Of the weight that the units are of, or that produces them first."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the scores and masks of its units."""
        ...

    @property
    def unit(self) -> str:
        """What the units are called, in the plural."""
        ...

    @property
    def removable(self) -> bool:
        """Whether cutting a unit makes its tensors smaller; where not, they become zero there."""
        ...

    @property
    def channelwise(self) -> bool:
        """Whether a unit is a whole output, with its bias and norm: a layer without any cuts the network in two."""
        ...

    @property
    def least(self) -> int:
        """How many units must stay: 1, or 0 where the model keeps something in their place."""
        ...

    @property
    def sparsity(self) -> float | None:
        """The one sparsity that its units can end at; None where any will do."""
        ...

    @property
    def structure(self) -> Hashable:
        """What makes two groups isomorphic, how many units they have apart."""
        ...

    def read(self, on: Role, members: Members = "producers") -> tuple[str, ...]:
        """The tensors that a measure reads in this role; see :data:`~flowprune.core.units.MEMBERS`."""
        ...

    def total(self, values: Mapping[str, Tensor], on: Role, members: Members = "producers") -> Tensor | None:
        """The sum of entries by unit, over those tensors that have values; None where none has."""
        ...

    def spread(self, mask: Tensor, params: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
        """Names of parameters, and masks that broadcast to them, False where a masked unit makes them zero."""
        ...

    def fan_in(self, params: Mapping[str, Tensor], members: Members = "producers") -> Tensor:
        """How many weights each unit sums over; for a unit of one weight, those of its output."""
        ...

    def required(self, scores: Tensor, alive: Tensor | None) -> Tensor | None:
        """The units that must stay, given the scores and which are alive; None where the group asks for none."""
        ...


Groups = Mapping[str, Group]
"""Groups by name. An entry that is not among them is scored weight by weight."""


def channelwise(groups: Groups) -> bool:
    """Whether there are channels among the groups.

    Example:
        >>> from flowprune.core.units import rows
        >>> channelwise({"w": rows("w", 2)}), channelwise({})
        (True, False)
    """
    return any(group.channelwise for group in groups.values())


def channels_of(where: str, groups: Groups) -> Layout:
    """The groups, all of which must be of channels.

    Raises:
        ValueError: units of another kind are among them, which cannot be removed.

    Example:
        >>> from flowprune.core.units import rows
        >>> list(channels_of("remove(masks=)", {"w": rows("w", 2)}))
        ['w']
    """
    found = {name: group for name, group in groups.items() if isinstance(group, UnitGroup)}
    others = sorted({group.unit for name, group in groups.items() if name not in found})
    if others:
        todo = "They are set to zero and nothing is removed: use fp.apply(model, masks)."
        raise invalid(where, "of channels", ", ".join(others), todo)
    return found


def units_of(groups: Groups) -> str:
    """What the units of some groups are called.

    Example:
        >>> from flowprune.core.units import rows
        >>> units_of({"w": rows("w", 2)}), units_of({})
        ('units', 'weights')
    """
    words = {group.unit for group in groups.values()}
    return words.pop() if len(words) == 1 else "units" if words else "weights"


def fixed_sparsity_of(groups: Groups) -> float | None:
    """The one sparsity that all units of these groups can end at; None where there is none.

    Example:
        >>> from flowprune.core.units import rows
        >>> fixed_sparsity_of({"w": rows("w", 2)})
    """
    each = {group.sparsity for group in groups.values()}
    return each.pop() if len(each) == 1 else None


def require_sparsity_of(where: str, group: Group, asked: float) -> None:
    """Raise where the units of a group cannot be cut to a sparsity, as those of an N:M pattern to another than 1 - N/M.

    Raises:
        ValueError: with the sparsity that they have.
    """
    fixed = group.sparsity
    if fixed is not None and not math.isclose(asked, fixed, rel_tol=1e-9):
        raise invalid(where, f"{fixed}, the sparsity of {group.unit}", asked, "It may be left out.")
