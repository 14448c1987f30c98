"""Residual streams: three ways to offer the channels that several weights add up to.

A block of a residual network ends in an addition, so the last convolutions of all blocks of a stage, its shortcut and
the stem write to the same channels. Removing such a channel means removing it from all of them at once
(``"coupled"``). One may leave these channels alone (``"inner"``), or zero the filters of single branches, where
nothing becomes smaller (``"masked"``, as the founding paper does on its ResNet-56).

The stem writes to the first stream too, so ``"masked"`` offers its filters with the others, 16 of them in ResNet-56.
The paper leaves it whole: for its procedure protect the stem, ``protect=("stem.weight",)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch

from flowprune.core.units import Layout, Member, UnitGroup
from flowprune.structure.ledger import Owned
from flowprune.structure.records import Trace

Form = Callable[[Trace], Layout]


def coupled(found: Trace) -> Layout:
    """One unit for each channel of a stream, of all the weights that write to it."""
    return found.groups


def inner(found: Trace) -> Layout:
    """Only units that one weight makes: those inside the branches."""
    return {name: group for name, group in found.groups.items() if len(writers(group)) < 2}


def masked(found: Trace) -> Layout:
    """Each filter that writes to a stream is a unit of its own, zeroed with its bias and norm and never removed."""
    layout: dict[str, UnitGroup] = {}
    for name, group in found.groups.items():
        makers = writers(group)
        if len(makers) < 2:
            layout[name] = group
        else:
            layout.update({maker.name: branch(group, maker, found.owned.get(maker.name, ())) for maker in makers})
    order = {name: number for number, name in enumerate(found.producers)}  # of execution
    return {name: layout[name] for name in sorted(layout, key=lambda name: order.get(name, len(order)))}


RESIDUAL: Final[Mapping[str, Form]] = {"coupled": coupled, "inner": inner, "masked": masked}
"""Ways to offer the channels of residual streams, by name."""


def writers(group: UnitGroup) -> tuple[Member, ...]:
    """The weights that make the channels of a group, in order of execution.

    Example:
        >>> from flowprune.core.units import rows
        >>> [member.name for member in writers(rows("fc.weight", 3))]
        ['fc.weight']
    """
    return tuple(member for member in group.members if member.role == "weight" and member.scored)


def branch(group: UnitGroup, maker: Member, owned: tuple[Owned, ...]) -> UnitGroup:
    """The filters of one weight as units that become zero and stay in place.

    Args:
        group: Of the stream.
        maker: The weight.
        owned: What belongs to that weight alone, of which the biases and norms become zero with a filter.
    """
    size = len(maker.positions)
    number = torch.full((int(maker.positions.max()) + 1,), -1)
    number[maker.positions] = torch.arange(size)
    parts = {(member.name, member.axis): member for member in group.members}
    members = [Member(maker.name, maker.axis, maker.positions, torch.arange(size), "weight")]
    for item in owned:
        part = parts.get((item.name, item.axis))
        if item.along != maker.axis or part is None or not part.zeroed:
            continue
        positions = part.positions
        filters = torch.from_numpy(item.positions)[positions]
        mine = filters >= 0
        members.append(
            Member(item.name, item.axis, positions[mine], number[filters[mine]], part.role, scored=part.scored)
        )
    return UnitGroup(maker.name, size, tuple(members), removable=False)
