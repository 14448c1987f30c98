"""Operations that look at a whole dimension in its order: sorting, running sums, windows, triangles."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.pooling import PLACES, axes
from flowprune.structure.value import Value


def ordered(ledger: Ledger, call: Call) -> Value | list[Value]:
    """sort, topk, cummax, cumsum, ... along a dimension that does not shrink: the zeros of a cut channel stay zeros.

    A second result is places, which are numbers for a cut channel too.
    """
    del ledger
    x = call.first
    _require_whole(x, [call["dim"]], "it orders channels, or adds them up one after the other")
    values = Value(call.shape, x.dims)
    if len(call.shapes) == 1:
        return values
    return [values, Value(call.shapes[1], tuple(d if d is None else d.broken(call.node, PLACES) for d in x.dims))]


def triangle(ledger: Ledger, call: Call) -> Value:
    """Triu and tril: the last two dimensions, neither of which shrinks."""
    del ledger
    _require_whole(call.first, [-2, -1], "it takes a triangle of channels")
    return Value(call.shape, call.first.dims)


def turned(ledger: Ledger, call: Call) -> Value:
    """rot90, flip and roll, over dimensions that do not shrink."""
    del ledger
    _require_whole(call.first, call["dims"], "it reorders channels")
    return Value(call.shape, call.first.dims)


def windows(ledger: Ledger, call: Call) -> Value:
    """Unfold of a tensor: windows along a dimension that does not shrink become a last dimension."""
    del ledger
    _require_whole(call.first, [call["dimension"]], "it takes windows of channels")
    return Value(call.shape, (*call.first.dims, None))


def diagonal(ledger: Ledger, call: Call) -> Value:
    """The diagonal of two dimensions that do not shrink, as a last dimension."""
    del ledger
    x, two = call.first, [call["dim1"], call["dim2"]]
    _require_whole(x, two, "it pairs channels with places")
    gone = axes(two, len(x.shape))
    return Value(call.shape, (*(dim for i, dim in enumerate(x.dims) if i not in gone), None))


def _require_whole(x: Value, dims: Sequence[int], reason: str) -> None:
    """Raise unless none of these dimensions shrinks; no number given for them means all."""
    if any(x.dims[i] is not None for i in axes(list(dims), len(x.dims))):
        raise Unexplained(reason)
