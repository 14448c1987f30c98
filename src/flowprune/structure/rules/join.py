"""Operations that put tensors together, take them apart, or extend them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowprune.structure.atoms import Ints
from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.elementwise import meet
from flowprune.structure.value import Dim, Maker, Value

PLACE = "it takes channels by their place"
STACKED = {"aten.hstack": 1, "aten.column_stack": 1, "aten.vstack": 0, "aten.row_stack": 0, "aten.dstack": 2}
"""The axis of operations that join along one and the same."""


def concatenate(ledger: Ledger, call: Call) -> Value:
    """cat, hstack, vstack, dstack: along the axis the parts follow each other, elsewhere they are one."""
    parts: list[Value] = [value for value in call["tensors"] if value.shape != (0,)]
    ndim = len(call.shape)
    axis = int(call["dim"] if "dim" in call.arguments else STACKED[call.op]) % ndim
    if any(len(part.shape) != ndim for part in parts):
        raise Unexplained("it adds dimensions to what it joins")
    dims = [meet(ledger, call, [(p.dims[i], call.shape[i]) for p in parts]) for i in range(ndim) if i != axis]
    dims.insert(axis, _chained(ledger, [(p.dims[axis], p.shape[axis]) for p in parts]))
    return Value(call.shape, tuple(dims))


def stack(ledger: Ledger, call: Call) -> Value:
    """stack: a new dimension of a size that stays, the others are one."""
    parts: list[Value] = call["tensors"]
    axis = int(call["dim"]) % len(call.shape)
    dims = [meet(ledger, call, [(p.dims[i], p.shape[i]) for p in parts]) for i in range(len(parts[0].shape))]
    dims.insert(axis, None)
    return Value(call.shape, tuple(dims))


def _chained(ledger: Ledger, parts: Sequence[tuple[Dim | None, int]]) -> Dim | None:
    """One dimension after the other; a part that cannot shrink gets atoms that are left whole."""
    if all(dim is None for dim, _ in parts):
        return None
    dims: list[Dim] = []
    for dim, size in parts:
        atoms = dim if dim is not None else Dim(ledger.atoms.new(size))
        if dim is None:
            ledger.freeze(atoms.atoms)
        dims.append(atoms)
    owners: dict[Maker, list[Ints]] = {}
    for name in {name for dim in dims for name in dim.owners}:
        owners[name] = [dim.owners.get(name, np.full(dim.size, -1)) for dim in dims]
    return Dim(
        np.concatenate([dim.atoms for dim in dims]),
        tuple(item for dim in dims for item in dim.breaks),
        {name: np.concatenate(lines) for name, lines in owners.items()},
        all(dim.follows for dim in dims),
    )


def chunk(ledger: Ledger, call: Call) -> list[Value]:
    """chunk, and split into equal parts: the j-th channel of every part is one unit, so that the parts stay equal."""
    x = call.first
    axis = int(call["dim"]) % len(x.shape)
    sizes = [shape[axis] for shape in call.shapes]
    dim = x.dims[axis]
    if dim is None:
        return [Value(shape, x.dims) for shape in call.shapes]
    if len(set(sizes)) > 1:
        return _parts(ledger, call, axis, dim, sizes)
    if sizes[0] == 1:
        raise Unexplained("it splits channels one by one")
    parts = dim.atoms.reshape(len(sizes), -1)
    ledger.atoms.unify(parts, np.broadcast_to(parts[0], parts.shape))
    if call.op != "aten.chunk":
        ledger.suspect(call.node, dim)
    pieces = np.arange(dim.size).reshape(len(sizes), -1)
    return [
        Value(shape, tuple(dim.take(pieces[k]) if i == axis else d for i, d in enumerate(x.dims)))
        for k, shape in enumerate(call.shapes)
    ]


def _parts(ledger: Ledger, call: Call, axis: int, dim: Dim, sizes: Sequence[int]) -> list[Value]:
    """Parts of different sizes that the code names: each shrinks by itself."""
    if call.op in ("aten.chunk", "aten.split"):
        raise Unexplained("it splits channels into parts of different sizes")
    starts = np.cumsum([0, *sizes])
    parts: list[Value] = []
    for shape, start, end in zip(call.shapes, starts, starts[1:], strict=False):
        part = dim.take(np.arange(start, end))
        ledger.suspect(call.node, part)
        parts.append(Value(shape, tuple(part if i == axis else d for i, d in enumerate(call.first.dims))))
    return parts


def gated(ledger: Ledger, call: Call) -> Value:
    """glu: one half of the channels times the sigmoid of the other, pairwise."""
    x = call.first
    axis = int(call["dim"]) % len(x.shape)
    dims, dim = list(x.dims), x.dims[axis]
    if dim is not None:
        halves = dim.atoms.reshape(2, -1)
        ledger.atoms.unify(halves[0], halves[1])
        dims[axis] = dim.take(np.arange(dim.size // 2))
    return Value(call.shape, tuple(dims))


def channel_shuffle(ledger: Ledger, call: Call) -> Value:
    """Channels of g groups dealt out in turn; the j-th channel of every group is one unit."""
    x, groups = call.first, int(call["groups"])
    dims, dim = list(x.dims), x.dims[1]
    if dim is not None:
        parts = dim.atoms.reshape(groups, -1)
        ledger.atoms.unify(parts, np.broadcast_to(parts[0], parts.shape))
        dims[1] = dim.take(np.arange(dim.size).reshape(groups, -1).T.reshape(-1))
    return Value(call.shape, tuple(dims))


def unbind(ledger: Ledger, call: Call) -> list[Value]:
    """Unbind along a dimension that does not shrink."""
    return [_without(ledger, call)] * len(call.shapes)


def select(ledger: Ledger, call: Call) -> Value:
    """One index of a dimension that does not shrink."""
    return _without(ledger, call)


def _without(ledger: Ledger, call: Call) -> Value:
    x = call.first
    axis = int(call["dim"]) % len(x.shape)
    dim = x.dims[axis]
    if dim is not None:
        ledger.refuse(call.node, PLACE, [dim.atoms])
    return Value(call.shapes[0], x.dims[:axis] + x.dims[axis + 1 :])


def cut_out(ledger: Ledger, call: Call) -> Value:
    """slice, narrow: channels from one place to another, if the places move with the channels before them."""
    x = call.first
    axis = int(call["dim"]) % len(x.shape)
    dim = x.dims[axis]
    dims = list(x.dims)
    if dim is not None and call.shape[axis] != x.shape[axis]:
        if call.get("step") not in (None, 1):
            raise Unexplained(PLACE)
        start = int(call.get("start") or 0)
        first = start % dim.size if start < dim.size else dim.size
        part = dim.take(np.arange(first, first + call.shape[axis]))
        if start > 0:
            ledger.count(call.node, "start", dim.atoms[:first])
        ledger.suspect(call.node, part)
        dims[axis] = part
    return Value(call.shape, tuple(dims))


def pad(ledger: Ledger, call: Call) -> Value:
    """pad: padding is a fixed number of entries before and after; in space it is zero, or else zeros are lost."""
    x = call.first
    widths: list[int] = call["pad"]
    constant = call.get("mode") in (None, "constant")
    filled = constant and (call.get("value") or 0) != 0
    dims: list[Dim | None] = list(x.dims)
    elsewhere = False
    for k in range(0, len(widths), 2):
        axis = len(x.shape) - 1 - k // 2
        dim, around = x.dims[axis], (widths[k], widths[k + 1])
        if dim is None:
            elsewhere |= any(around)
        elif any(around):
            if not constant or min(around) < 0:
                raise Unexplained("it copies or drops channels")
            parts = [(None, around[0]), (dim, dim.size), (None, around[1])]
            dims[axis] = _chained(ledger, [part for part in parts if part[1]])
    if filled and elsewhere:
        dims = [d if d is None else d.broken(call.node, "it surrounds a cut channel with numbers") for d in dims]
    return Value(call.shape, tuple(dims))
