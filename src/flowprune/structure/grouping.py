"""From a ledger to units and groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.fx import Node

from flowprune.core.units import Kind, Member, UnitGroup
from flowprune.structure.atoms import Atoms, Ints
from flowprune.structure.ledger import Axis, Ledger


@dataclass(frozen=True, eq=False)
class Units:
    """Where every atom went.

    Attributes:
        label: For each atom, its class.
        group: For each class, the number of its group, -1 where it is no unit.
        unit: For each class, its number within the group.
        names: Of the groups, in order of execution.
        sizes: Of the groups.
    """

    label: Ints
    group: Ints
    unit: Ints
    names: list[str]
    sizes: list[int]


def groups(ledger: Ledger, *, besides: Iterable[Ints] = ()) -> dict[str, UnitGroup]:
    """The units that can be cut, as groups in order of execution.

    A class of atoms is a unit if some weight produces it and none of it is left whole. Units that share a producing
    weight form a group, named after the weight of it that is executed first; its units are numbered by the
    positions of that weight.

    Args:
        ledger: Of the walk.
        besides: Further atoms to leave whole.
    """
    units = _units(ledger, np.concatenate([ledger.stopped(), *besides]))
    members: list[list[Member]] = [[] for _ in units.names]
    for axis in ledger.axes.values():
        labels = units.label[axis.atoms]
        owner = units.group[labels]
        for number in np.unique(owner[owner >= 0]):
            positions = np.flatnonzero(owner == number)
            members[number].append(_member(axis, positions, units.unit[labels[positions]]))
    for (path, attribute), atoms in ledger.sizes().items():
        labels = units.label[atoms]
        owner = units.group[labels]
        for number in np.unique(owner[owner >= 0]):
            positions = np.flatnonzero(owner == number)
            index = (torch.from_numpy(positions), torch.from_numpy(units.unit[labels[positions]]))
            name = f"{path}.{attribute}" if path else attribute
            members[number].append(Member(name, 0, *index, "size", scored=False))
    heads = np.zeros(len(units.label), dtype=bool)
    for atoms in ledger.heads:
        heads[units.label[atoms]] = True
    kinds: list[Kind] = ["channels"] * len(units.names)
    for number in np.unique(units.group[heads & (units.group >= 0)]):
        kinds[number] = "heads"
    found = zip(units.names, units.sizes, members, kinds, strict=True)
    return {name: UnitGroup(name, size, tuple(parts), kind=kind) for name, size, parts, kind in found}


def _member(axis: Axis, positions: Ints, units: Ints) -> Member:
    scored = axis.scored and axis.role in ("weight", "norm")
    return Member(axis.name, axis.axis, torch.from_numpy(positions), torch.from_numpy(units), axis.role, scored)


def _units(ledger: Ledger, stopped: Ints) -> Units:
    label = ledger.atoms.labels()
    producers = _producers(ledger)
    live = _live(label, stopped, producers)
    # Units of one weight are one group: the components of the graph weights - classes, solved like the atoms.
    together = Atoms()
    together.new(len(label))
    reps = [np.flatnonzero(live[label[axis.atoms]]) for axis in producers]
    for axis, positions in zip(producers, reps, strict=True):
        classes = label[axis.atoms[positions]]
        if len(classes):
            together.unify(classes, np.broadcast_to(classes[:1], classes.shape))
    component = together.labels()
    group, unit = np.full(len(label), -1), np.full(len(label), -1)
    number: dict[int, int] = {}
    names: list[str] = []
    sizes: list[int] = []
    for axis, positions in zip(producers, reps, strict=True):
        classes = label[axis.atoms[positions]]
        if not len(classes):
            continue
        root = int(component[classes[0]])
        if root not in number:
            if axis.name in names:
                continue  # a weight that makes two groups names the first; a later weight may name the second
            number[root] = len(names)
            names.append(axis.name)
            sizes.append(0)
        g = number[root]
        fresh = classes[group[classes] < 0]
        _, first = np.unique(fresh, return_index=True)
        order = fresh[np.sort(first)]
        group[order], unit[order] = g, np.arange(sizes[g], sizes[g] + len(order))
        sizes[g] += len(order)
    return Units(label, group, unit, names, sizes)


def _producers(ledger: Ledger) -> list[Axis]:
    return [axis for axis in ledger.axes.values() if axis.produces]


def _live(label: Ints, stopped: Ints, producers: list[Axis]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether a class is a unit."""
    live = np.zeros(len(label), dtype=bool)
    for axis in producers:
        live[label[axis.atoms]] = True
    live[label[stopped]] = False
    return live


def left_whole(ledger: Ledger) -> list[tuple[str, ...]]:
    """For each refusal, in order, the producing weights that it leaves whole.

    Channels that the model's outputs fix anyway are no fault of an operation.
    """
    label = ledger.atoms.labels()
    producers = _producers(ledger)
    free = ~_of(label, [atoms for node, atoms in ledger.frozen if node is None])
    result: list[tuple[str, ...]] = []
    for found in ledger.refused.values():
        hit = _of(label, found) & free
        names = [axis.name for axis in producers if hit[label[axis.atoms]].any()]
        result.append(tuple(dict.fromkeys(names)))
    return result


def silently_whole(ledger: Ledger) -> dict[Node, tuple[str, ...]]:
    """The weights of several channels, none of which is a unit, that no refusal names and no output fixes.

    By the node at which they are left whole.
    """
    label = ledger.atoms.labels()
    told = _of(label, [atoms for node, atoms in ledger.frozen if node is None])
    told |= _of(label, [atoms for found in ledger.refused.values() for atoms in found])
    live = _live(label, ledger.stopped(), _producers(ledger))
    producers = [axis for axis in _producers(ledger) if len(axis.atoms) > 1 and not live[label[axis.atoms]].any()]
    result: dict[Node, tuple[str, ...]] = {}
    for node, atoms in ledger.frozen:
        if node is not None:
            hit = _of(label, [atoms]) & ~told
            told |= hit
            names = dict.fromkeys(axis.name for axis in producers if hit[label[axis.atoms]].any())
            if names:
                result[node] = tuple(dict.fromkeys((*result.get(node, ()), *names)))
    return result


def _of(label: Ints, atoms: Sequence[Ints]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each class whether one of these atoms is of it."""
    hit = np.zeros(len(label), dtype=bool)
    if atoms:
        hit[label[np.concatenate([a.reshape(-1) for a in atoms])]] = True
    return hit
