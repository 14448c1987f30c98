"""Names of modules and tensors after blocks left their containers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from flowprune.core.units import UnitGroup


def moved(name: str, gone: Collection[str]) -> str:
    """The name of a module or tensor once some blocks are gone: later numbers of their containers move up.

    Args:
        name: Of something that stays.
        gone: Paths of the blocks.

    Example:
        >>> moved("layers.3.attention.weight", ["layers.0", "layers.2", "layers.4"])
        'layers.1.attention.weight'
    """
    numbers: dict[str, list[int]] = {}
    for path in gone:
        container, _, key = path.rpartition(".")
        if key.isdecimal():
            numbers.setdefault(container, []).append(int(key))
    parts = name.split(".")
    result: list[str] = []
    for i, part in enumerate(parts):
        before = numbers.get(".".join(parts[:i]), []) if part.isdecimal() else []
        result.append(str(int(part) - sum(number < int(part) for number in before)) if before else part)
    return ".".join(result)


def subset(group: UnitGroup, mask: Tensor) -> UnitGroup:
    """The blocks of a group where a mask is True, units numbered anew."""
    mask = mask.cpu()
    number = torch.cumsum(mask, 0) - 1
    members = [replace(m, units=number[m.units]) for m in group.members if len(m.units) and bool(mask[m.units[0]])]
    modules = tuple(path for path, stays in zip(group.modules, mask.tolist(), strict=True) if stays)
    return replace(group, size=len(modules), members=tuple(members), modules=modules)


def renamed(group: UnitGroup, gone: Collection[str]) -> UnitGroup:
    """A group whose modules and tensors have the names they have once some blocks are gone.

    Its own name stays: masks and scores of several rounds go by it.
    """
    members = tuple(replace(member, name=moved(member.name, gone)) for member in group.members)
    return replace(group, members=members, modules=tuple(moved(path, gone) for path in group.modules))
