"""Layouts and traces after a cut, without tracing again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from flowprune.core.arguments import require_masks
from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.units import Layout, Member, UnitGroup
from flowprune.structure.depth.drop import gone_blocks
from flowprune.structure.depth.names import moved, renamed, subset
from flowprune.structure.ledger import Owned
from flowprune.structure.records import Trace

Kept: TypeAlias = tuple[tuple[int, Tensor], ...]
"""For each axis that shrinks: the axis, and the positions kept, int64 and ascending."""


def check_masks(layout: Layout, masks: Mapping[str, Tensor]) -> None:
    """Raise where a mask is not a boolean vector of its group's size, or keeps nothing.

    Raises:
        ValueError: its name, type or length is wrong, they are no mapping, or it cuts units that cannot be removed.
        PruningError: it empties its group, and nothing would stay in its place.
    """
    require_masks("cut_", masks)
    for name, mask in masks.items():
        if name not in layout:
            raise unknown("cut_(masks=): the layout", name, layout)
        if mask.dtype != torch.bool or mask.shape != (layout[name].size,):
            got = f"{mask.dtype} of shape {tuple(mask.shape)}"
            raise invalid(f"cut_(masks=): mask of {name!r}", f"boolean of shape ({layout[name].size},)", got)
        if layout[name].least and not bool(mask.any()):
            raise PruningError(
                f"cut_(masks=) must keep at least one unit of every group; {name!r} loses all {mask.numel()}. "
                "Keep one, or raise the floor in select(...)."
            )
        if not layout[name].removable and not bool(mask.all()):
            raise invalid(
                f"cut_(masks=): mask of {name!r}",
                "of units that can be removed",
                "filters of one branch of a residual stream, which other weights feed too",
                "Zero them with fp.apply(model, masks), or use fp.remove, which does both.",
            )


def slice_layout(layout: Layout, masks: Mapping[str, Tensor]) -> dict[str, UnitGroup]:
    """The layout after a cut: units and positions numbered anew, so that a model is traced once for many rounds.

    Example:
        >>> from flowprune.core.units import rows
        >>> after = slice_layout({"w": rows("w", 3)}, {"w": torch.tensor([False, True, True])})
        >>> after["w"].size, after["w"].members[0].positions
        (2, tensor([0, 1]))
    """
    check_masks(layout, masks)
    removed, gone = removed_positions(layout, masks), gone_blocks(layout, masks)
    result: dict[str, UnitGroup] = {}
    for name, group in layout.items():
        mask = masks[name].cpu() if name in masks else torch.ones(group.size, dtype=torch.bool)
        if group.kind == "depth":
            if bool(mask.any()):
                result[name] = renamed(subset(group, mask), gone)
            continue
        number = torch.cumsum(mask, 0) - 1
        members = [_renumbered(member, mask, number, removed) for member in group.members]
        kept = tuple(member for member in members if len(member.positions))
        result[name] = replace(group, size=int(mask.sum()), members=kept)
    return result


def _renumbered(member: Member, mask: Tensor, number: Tensor, removed: Mapping[tuple[str, int], Tensor]) -> Member:
    stays = mask[member.units]
    positions = member.positions[stays]
    gone = removed.get((member.name, member.axis))
    if gone is not None:
        positions = positions - torch.searchsorted(gone, positions)
    return replace(member, positions=positions, units=number[member.units[stays]])


def removed_positions(layout: Layout, masks: Mapping[str, Tensor]) -> dict[tuple[str, int], Tensor]:
    """For each axis of each tensor, and each size, the positions that go, ascending: several groups may cut one."""
    parts: dict[tuple[str, int], list[Tensor]] = {}
    for name, mask in masks.items():
        for member in layout[name].members:
            gone = member.positions[~mask.cpu()[member.units]]
            if len(gone):
                parts.setdefault((member.name, member.axis), []).append(gone)
    return {key: torch.cat(found).unique() for key, found in parts.items()}


def tensors_of(layout: Layout) -> dict[str, UnitGroup]:
    """The layout without the sizes that modules keep beside their tensors.

    Example:
        >>> count = Member("layer.heads", 0, torch.arange(2), torch.arange(2), "size")
        >>> tensors_of({"w": UnitGroup("w", 2, (count,))})["w"].members
        ()
    """
    return {n: replace(g, members=tuple(m for m in g.members if m.role != "size")) for n, g in layout.items()}


def slice_trace(found: Trace, masks: Mapping[str, Tensor], kept: Mapping[str, Kept]) -> Trace:
    """The trace of a model after a cut of it.

    Args:
        found: Before the cut.
        masks: Boolean by group name, True = kept.
        kept: For each tensor that was cut, the positions kept along its axes.
    """
    owned = {
        name: tuple(_owned(item, kept, kept.get(name, ())) for item in items) for name, items in found.owned.items()
    }
    return replace(found, groups=slice_layout(found.groups, masks), owned=owned)


def shorten_trace(found: Trace, gone: Collection[str]) -> Trace:
    """The trace of blocks of a model after some of them, by their paths, were taken out."""
    masks = {name: torch.tensor([path not in gone for path in group.modules]) for name, group in found.groups.items()}
    refusals = tuple(
        replace(item, node=moved(item.node, gone), weights=tuple(moved(name, gone) for name in item.weights))
        for item in found.refusals
    )
    return replace(found, groups=slice_layout(found.groups, masks), refusals=refusals)


def _owned(item: Owned, kept: Mapping[str, Kept], owner: Kept) -> Owned:
    """The entries that a weight owns, both sides numbered anew; -1 where there is none."""
    positions = item.positions
    for axis, stays in kept.get(item.name, ()):
        if axis == item.axis:
            positions = positions[stays.numpy()]
    for axis, stays in owner:
        if axis == item.along:
            number = np.full(max(int(stays[-1]), int(positions.max(initial=0))) + 1, -1)
            number[stays.numpy()] = np.arange(len(stays))
            positions = np.where(positions < 0, -1, number[positions])
    return replace(item, positions=positions)
