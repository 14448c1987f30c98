"""Operations that move entries without changing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.lessons import Split
from flowprune.structure.rules.pooling import axes
from flowprune.structure.value import Dim, Value, fixed


def same(ledger: Ledger, call: Call) -> Value:
    """contiguous, clone, detach, to, type_as, ...: the tensor itself, a parameter still a parameter."""
    del ledger
    return call.first


def permute(ledger: Ledger, call: Call) -> Value:
    """permute, transpose, t, mT, swapaxes, movedim."""
    del ledger
    x = call.first
    ndim = len(x.shape)
    order = _order(call, ndim)
    leaf = None if x.leaf is None else replace(x.leaf, axes=tuple(x.leaf.axes[i] for i in order))
    return Value(call.shape, tuple(x.dims[i] for i in order), leaf)


def _order(call: Call, ndim: int) -> list[int]:
    """Which axis of the operand each axis of the result is."""
    if call.get("dims") is not None:
        return list(axes(call["dims"], ndim))
    if "source" in call.arguments:
        places = dict(zip(axes(call["destination"], ndim), axes(call["source"], ndim), strict=True))
        others = iter(i for i in range(ndim) if i not in places.values())
        return [places[i] if i in places else next(others) for i in range(ndim)]
    pair = [call[name] % ndim for name in ("dim0", "dim1", "axis0", "axis1") if name in call.arguments]
    a, b = pair or ((ndim - 2, ndim - 1) if call.op in ("aten.mT", "aten.adjoint") else (0, ndim - 1))
    order = list(range(ndim))
    order[a], order[b] = order[b], order[a]
    return order


def reshape(ledger: Ledger, call: Call) -> Value:
    """view, reshape, flatten, unflatten, squeeze, unsqueeze: the same entries in the same order.

    Where a size of the result is written as a number, the walk cannot see whether the code computes it: it is noted
    as suspect, and the trace tries a cut.
    """
    x = call.first
    written = _written(call)
    dims: list[Dim | None] = []
    for inner, outer in blocks(x.shape, call.shape):
        free = [k for k, o in enumerate(outer) if written.get(o) == -1]
        parts = [(x.dims[i], x.shape[i]) for i in inner]
        dims += _regrouped(ledger, call, parts, [call.shape[o] for o in outer], free)
    for i, size in written.items():
        if size != -1:
            ledger.suspect(call.node, dims[i])
    return Value(call.shape, tuple(dims))


def _written(call: Call) -> dict[int, int]:
    """The sizes that the call names, by dimension of the result; -1 is computed."""
    for name in ("size", "shape", "sizes"):
        sizes = call.get(name)
        if isinstance(sizes, list):
            start = int(call["dim"]) % len(call.first.shape) if call.op == "aten.unflatten" else 0
            return {start + i: int(size) for i, size in enumerate(sizes)}
    return {}


def blocks(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of dimensions that hold the same entries before and after.

    Example:
        >>> blocks((2, 8, 4, 4), (2, 128))
        [([0], [0]), ([1, 2, 3], [1])]
    """
    result: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        inner, outer = [], []
        left = right = 1
        while True:
            if i < len(before) and (not inner or left < right):
                left *= before[i]
                inner.append(i)
                i += 1
            elif j < len(after) and (not outer or right < left):
                right *= after[j]
                outer.append(j)
                j += 1
            elif left == right:
                break
            else:
                raise Unexplained("its sizes do not divide")
        result.append((inner, outer))
    return result


def _regrouped(
    ledger: Ledger, call: Call, inner: Sequence[tuple[Dim | None, int]], outer: Sequence[int], free: Sequence[int]
) -> list[Dim | None]:
    """What the dimensions of one run become: the atom of every entry, and the one dimension that tells them apart.

    Channels that are split over several dimensions shrink along one of them: the one whose size is computed, else
    the last; where that is refused, the trace tries the others. The channels at one index of it are then one unit.
    """
    carriers = [(i, dim) for i, (dim, _) in enumerate(inner) if dim is not None]
    for _, single in carriers if len(carriers) > 1 or not outer else []:
        if single.size == 1:
            ledger.freeze(single.atoms)
    carriers = [(i, dim) for i, dim in carriers if dim.size > 1] if len(carriers) > 1 else carriers
    if not carriers or not outer:
        return [None] * len(outer)
    if len(carriers) > 1:
        raise Unexplained("it mixes two dimensions that shrink")
    place, dim = carriers[0]
    if dim.size == 1 and max(outer) == 1:
        return [dim, *[None] * (len(outer) - 1)]
    shape = [dim.size if i == place else 1 for i in range(len(inner))]
    index = np.broadcast_to(np.arange(dim.size).reshape(shape), [size for _, size in inner]).reshape(outer)
    lines = {a: np.moveaxis(index, a, 0).reshape(size, -1) for a, size in enumerate(outer) if size > 1}
    for axis, line in lines.items():
        atoms = dim.atoms[line]
        if (atoms == atoms[:, :1]).all():
            return [dim.take(line[:, 0]) if i == axis else None for i in range(len(outer))]
    spot = ledger.spot(call.node)
    options = list(dict.fromkeys([*(a for a in free if a in lines), max(lines), *lines]))
    ledger.splits.append(Split(spot, dim.atoms, len(options), free=any(a in lines for a in free)))
    axis = options[ledger.lessons.choice(spot) % len(options)]
    atoms = dim.atoms[lines[axis]]
    ledger.atoms.unify(atoms, np.broadcast_to(atoms[:, :1], atoms.shape))
    split = replace(dim.take(lines[axis][:, 0]), owners={})
    return [split if i == axis else None for i in range(len(outer))]


def expand(ledger: Ledger, call: Call) -> Value:
    """expand, expand_as: dimensions of size one repeat, the others stay."""
    x = call.first
    new = len(call.shape) - len(x.shape)
    dims: list[Dim | None] = [None] * new + list(x.dims)
    for i, dim in enumerate(dims):
        if dim is not None and dim.size != call.shape[i]:
            ledger.freeze(dim.atoms)
            dims[i] = None
    as_wide: Value | None = call.get("other")
    if as_wide is not None:
        reason = "it spreads one value over all channels"
        spread = [i for i, size in enumerate(x.shape, new) if size != call.shape[i]]
        for i in spread:
            other = as_wide.dims[i]
            dims[i] = None if other is None else other.broken(call.node, reason)
    for i, size in enumerate(call.get("size") or ()):
        if size != -1:
            ledger.suspect(call.node, dims[i])
    return Value(call.shape, tuple(dims))


def new(ledger: Ledger, call: Call) -> Value:
    """new_zeros, new_full, ...: a tensor of sizes that are numbers; a cut is tried to see whether they stay."""
    for dim in call.first.dims:
        ledger.suspect(call.node, dim)
    return fixed(call.shape)


def pixel_shuffle(ledger: Ledger, call: Call) -> Value:
    """(C·r², H, W) to (C, H·r, W·r): r² consecutive channels are one unit."""
    return _gathered(ledger, call, len(call.first.shape) - 3, int(call["upscale_factor"]) ** 2)


def columns_to_image(ledger: Ledger, call: Call) -> Value:
    """col2im, fold: (C·k, places) to (C, H, W): the k consecutive columns of a channel are one unit."""
    return _gathered(ledger, call, len(call.first.shape) - 2, math.prod(call["kernel_size"]))


def _gathered(ledger: Ledger, call: Call, channel: int, factor: int) -> Value:
    """Consecutive channels become one, and space."""
    x = call.first
    dim = x.dims[channel]
    if any(other is not None for i, other in enumerate(x.dims) if i != channel):
        raise Unexplained("it moves a dimension that shrinks into space")
    dims: list[Dim | None] = [None] * len(call.shape)
    if dim is not None:
        parts = dim.atoms.reshape(-1, factor)
        ledger.atoms.unify(parts, np.broadcast_to(parts[:, :1], parts.shape))
        dims[channel] = replace(dim.take(np.arange(0, dim.size, factor)), owners={})
    return Value(call.shape, tuple(dims))


def pixel_unshuffle(ledger: Ledger, call: Call) -> Value:
    """(C, H·r, W·r) to (C·r², H, W): every channel becomes r² consecutive ones."""
    del ledger
    return _scattered(call, int(call["downscale_factor"]) ** 2)


def image_to_columns(ledger: Ledger, call: Call) -> Value:
    """im2col, unfold: (C, H, W) to (C·k, places): every channel becomes k consecutive columns."""
    del ledger
    return _scattered(call, math.prod(call["kernel_size"]))


def _scattered(call: Call, factor: int) -> Value:
    """A channel and its space become consecutive channels."""
    x, channel = call.first, len(call.first.shape) - 3
    if any(other is not None for i, other in enumerate(x.dims) if i != channel):
        raise Unexplained("it moves a dimension that shrinks into channels")
    return Value(call.shape, _repeated(x.dims, channel, factor)[: len(call.shape)])


def repeat(ledger: Ledger, call: Call) -> Value:
    """Repeat and tile: the whole dimension again and again."""
    x, times = call.first, [int(n) for n in call["dims" if call.op == "aten.tile" else "repeats"]]
    times = [1] * (len(x.shape) - len(times)) + times
    dims: list[Dim | None] = [None] * (len(times) - len(x.dims))
    for dim, count in zip(x.dims, times[len(dims) :], strict=True):
        dims.append(None if dim is None else dim.take(np.tile(np.arange(dim.size), count)))
    for dim in dims:
        ledger.suspect(call.node, dim)
    return Value(call.shape, tuple(dims))


def repeat_interleave(ledger: Ledger, call: Call) -> Value:
    """Every index several times in a row."""
    x, times = call["self"], call.get("repeats")
    if not isinstance(times, int) or call.get("dim") is None:
        raise Unexplained("how often it repeats each index is computed")
    axis = int(call["dim"]) % len(x.shape)
    dims = _repeated(x.dims, axis, times)
    ledger.suspect(call.node, dims[axis])
    return Value(call.shape, dims)


def _repeated(dims: Sequence[Dim | None], axis: int, times: int) -> tuple[Dim | None, ...]:
    """The dimensions with every index of one of them several times in a row."""
    return tuple(
        dim.take(np.repeat(np.arange(dim.size), times)) if i == axis and dim is not None else dim
        for i, dim in enumerate(dims)
    )
