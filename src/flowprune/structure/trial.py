"""Does the code do to a cut model what the rules say? Cut units of every group, capture again, and compare.

An exported graph holds sizes, not the code that made them: ``x.view(n, c, -1)`` with ``c = x.shape[1]`` and with
``c = 64`` look alike. So a twin without weights loses units of each group and is captured again. Both graphs must
have the same operations with the same numbers, and every result must have the shape that the rules foretell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import Node

from flowprune.core.units import Layout
from flowprune.structure.atoms import Ints
from flowprune.structure.call import bind, op_name, shapes, where
from flowprune.structure.capture import Captured, CaptureError, Deadline, Mode, capture, user_lines
from flowprune.structure.cut import cut_
from flowprune.structure.example import Example
from flowprune.structure.hollow import hollow
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Spot
from flowprune.structure.value import Value

WRITTEN = "a size in the code is a number that does not shrink with the channels"
OTHER_WAY = "the code takes another way when channels are cut"
OTHER_NUMBER = "a number in the code changes with the channels"

SIZED = (
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "expand",
    "split",
    "slice",
    "narrow",
    "conv",
    "repeat",
    "group_norm",
)
MADE = ("full", "zeros", "ones", "empty", "new_", "arange", "rand", "_unsafe_view", "_reshape_alias")
"""Operations whose whole numbers are sizes: their results tell whether these are right."""
CONSTANT = ("zeros", "ones", "new_zeros", "new_ones")
"""Operations that make the same number everywhere: shorter, they make what a cut would leave of them."""

VARIETY = 3
"""How many different numbers of units groups of one size lose; neighbours differ, and captures of layers stay alike."""

Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Disproof:
    """What a cut has shown.

    Attributes:
        spots: The nodes whose rule does not hold; empty where it cannot be told which.
        reason: In words.
        before: Nodes that name a size of the same channels, and may have gone wrong in silence before these.
        made: A node that makes a constant, its axes that became shorter, and how long they are now.
    """

    spots: tuple[Spot, ...]
    reason: str
    before: tuple[Spot, ...] = ()
    made: tuple[tuple[Spot, int, int], ...] = ()


def attempt(
    model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, layout: Layout, example: Example, deadline: Deadline
) -> Disproof | None:
    """Cut a few units of every group of a hollow copy, and compare its graphs with what the rules foretell.

    Args:
        model: Is not changed.
        graphs: Of it, in evaluation and perhaps training mode.
        ledger: Of a walk of these graphs.
        layout: The groups that lose a unit, if they have two.
        example: What the model is called with.
        deadline: For the captures.
    """
    units = Units.of(ledger, layout)
    masks = _masks(ledger, layout, units)
    if not masks:
        return None
    small = hollow(model)
    cut_(small, layout, masks)
    kept = _kept(units, masks)
    modes: tuple[Mode, ...] = ("eval", "train")
    for number, (before, mode) in enumerate(zip(graphs, modes, strict=False)):
        try:
            after = capture(small, example, mode=mode, deadline=deadline, lines=False)
        except CaptureError as error:
            spots = _on_the_line(before, ledger, number, error.__cause__ or error)
            return Disproof(spots, WRITTEN, _of_the_same(ledger, spots))
        found = _difference(before, after, ledger, number, kept)
        if found is not None:
            return found
    return None


@dataclass(frozen=True, eq=False)
class Units:
    """For each atom, its group as a number (-1: none) and its unit in it; and the names behind the numbers."""

    names: list[str]
    group: Ints
    unit: Ints

    @classmethod
    def of(cls, ledger: Ledger, layout: Layout) -> Units:
        """Of the groups of a layout that can lose a unit."""
        label = ledger.atoms.labels()
        names = [name for name, group in layout.items() if group.removable and group.size > 1]
        group, unit = np.full(len(label), -1), np.full(len(label), -1)
        for number, name in enumerate(names):
            for member in layout[name].members:
                if member.role != "size":
                    own = label[ledger.axes[member.name, member.axis].atoms[member.positions.numpy()]]
                    group[own], unit[own] = number, member.units.numpy()
        return cls(names, group[label], unit[label])


def _masks(ledger: Ledger, layout: Layout, units: Units) -> dict[str, Tensor]:
    """Every group loses its last unit, its first if it has three, and one of each part that the code counts.

    Groups of one size lose different numbers, as far as they have them: a number in the code that is right for one of
    them is then wrong for the next.
    """
    masks = {name: torch.arange(layout[name].size) < layout[name].size - 1 for name in units.names}
    met: dict[int, int] = {}
    for name, mask in masks.items():
        size = layout[name].size
        more = met.setdefault(size, 0) % max(1, min(size - 2, VARIETY))
        met[size] += 1
        if size >= 3:
            mask[: 1 + more] = False
    counted = [atoms for found in ledger.counted.values() for _, atoms in found]
    for atoms in (*(atoms for _, atoms in ledger.suspects), *counted):
        live = units.group[atoms] >= 0
        found = list(
            dict.fromkeys(zip(units.group[atoms[live]].tolist(), units.unit[atoms[live]].tolist(), strict=True))
        )
        if all(masks[units.names[group]][unit] for group, unit in found):
            for group, unit in found[:1]:
                mask = masks[units.names[group]]
                mask[unit] = int(mask.sum()) == 1
    return masks


def _kept(units: Units, masks: Mapping[str, Tensor]) -> Flags:
    """Which atoms masks leave."""
    kept = np.ones(len(units.group), dtype=bool)
    for number, name in enumerate(units.names):
        mine = units.group == number
        kept[mine] = masks[name].numpy()[units.unit[mine]]
    return kept


def _difference(before: Captured, after: Captured, ledger: Ledger, graph: int, kept: Flags) -> Disproof | None:
    """The first node that is not what the rules foretell."""
    for node, other in zip(_calls(before), _calls(after), strict=False):
        spot = Spot(graph, node.name)
        if node.target is not other.target:
            return Disproof(_near(ledger, spot, node), OTHER_WAY)
        if not _counted(ledger, spot, other, kept) or not _foretold(ledger.results.get(spot, []), other, kept):
            return Disproof(_near(ledger, spot, node), WRITTEN, made=_made(spot, node, other))
        if not _same_numbers(node, other):
            return Disproof(_near(ledger, spot, node), OTHER_NUMBER)
    if len(list(_calls(before))) != len(list(_calls(after))):
        return Disproof((), OTHER_WAY)
    return None


def _calls(captured: Captured) -> Iterator[Node]:
    """The operations; a copy that makes a tensor contiguous is left out, for it is none where the tensor already is."""
    calls = (node for node in captured.graph.nodes if node.op == "call_function" and node.target is not getitem)
    return (node for node in calls if op_name(node) != "aten.contiguous")


def _foretold(results: Sequence[Value], other: Node, kept: Flags) -> bool:
    """Whether results have the shapes that the rules foretell; tensors of the model itself were cut by them."""
    for value, shape in zip(results, shapes(other), strict=False):
        sizes = (s if d is None else int(kept[d.atoms].sum()) for s, d in zip(value.shape, value.dims, strict=True))
        if value.leaf is None and tuple(sizes) != shape:
            return False
    return True


def _counted(ledger: Ledger, spot: Spot, other: Node, kept: Flags) -> bool:
    """Whether the arguments that count channels count those that are left."""
    expected = ledger.counted.get(spot, [])
    given = bind(other, {}) if expected else {}
    return all(given.get(argument) == int(kept[atoms].sum()) for argument, atoms in expected)


def _same_numbers(node: Node, other: Node) -> bool:
    """Whether two calls have the same numbers, sizes apart."""
    name = op_name(node).removeprefix("aten.")
    sized = name.startswith((*SIZED, *MADE))
    return list(_numbers((node.args, node.kwargs), sized)) == list(_numbers((other.args, other.kwargs), sized))


def _numbers(item: Any, sized: bool) -> Iterator[Any]:
    if isinstance(item, (list, tuple)):
        for part in item:
            yield from _numbers(part, sized)
    elif isinstance(item, dict):
        for key in sorted(item):
            yield from _numbers(item[key], sized)
    elif not isinstance(item, Node) and not (sized and type(item) is int):
        yield item


def _made(spot: Spot, node: Node, other: Node) -> tuple[tuple[Spot, int, int], ...]:
    """The axes of a constant that the code made shorter."""
    if op_name(node).removeprefix("aten.") not in CONSTANT:
        return ()
    sizes = zip(shapes(node)[0], shapes(other)[0], strict=True)
    return tuple((spot, axis, new) for axis, (old, new) in enumerate(sizes) if old != new)


def _near(ledger: Ledger, spot: Spot, node: Node) -> tuple[Spot, ...]:
    """The node, if channels flow through it, else nothing: it cannot be told whose number it is."""
    return (spot,) if any(dim is not None for dim in ledger.dims.get(spot, [])) else ()


def _on_the_line(before: Captured, ledger: Ledger, graph: int, error: BaseException) -> tuple[Spot, ...]:
    """The nodes through which channels flow on the innermost line of the model's code that led to an error."""
    label, stopped = ledger.atoms.labels(), ledger.stopped()
    whole = np.zeros(len(label), dtype=bool)
    whole[label[stopped]] = True
    suspected = {ledger.spot(node) for node, atoms in ledger.suspects if not whole[label[atoms]].all()}
    by_line: dict[str, list[Spot]] = {}
    for node in _calls(before):
        spot = Spot(graph, node.name)
        if any(dim is not None and not whole[label[dim.atoms]].all() for dim in ledger.dims.get(spot, [])):
            by_line.setdefault(where(node), []).append(spot)
    alive = next((by_line[line] for line in user_lines(error) if line in by_line), [])
    return tuple(spot for spot in alive if spot in suspected) or tuple(alive)


def _of_the_same(ledger: Ledger, spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """The nodes that name a size of the channels that flow through others."""
    label = ledger.atoms.labels()
    mine = np.zeros(len(label), dtype=bool)
    for spot in spots:
        for dim in ledger.dims[spot]:
            if dim is not None:
                mine[label[dim.atoms]] = True
    found = dict.fromkeys(ledger.spot(node) for node, atoms in ledger.suspects if mine[label[atoms]].any())
    return tuple(spot for spot in found if spot not in spots)
