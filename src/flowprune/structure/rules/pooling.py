"""Operations that gather over space, or over a whole dimension."""

from __future__ import annotations

from collections.abc import Callable

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.elementwise import aligned, extreme_of_two, meet
from flowprune.structure.value import Dim, Value

PLACES = "a place is a number for a cut channel too"


def over_last(count: int) -> Callable[[Ledger, Call], Value | list[Value]]:
    """The rule of pooling or resizing over the last ``count`` dimensions: a zero channel stays zero.

    A second result is the places of the maxima.
    """

    def pooling(ledger: Ledger, call: Call) -> Value | list[Value]:
        del ledger
        x = call.first
        if any(dim is not None for dim in x.dims[len(x.dims) - count :]):
            raise Unexplained("it pools over a dimension that shrinks")
        pooled = Value(call.shape, x.dims)
        if len(call.shapes) == 1:
            return pooled
        return [pooled, Value(call.shape, tuple(d if d is None else d.broken(call.node, PLACES) for d in x.dims))]

    return pooling


def unpooled(ledger: Ledger, call: Call) -> Value:
    """max_unpool: every value back to its place."""
    x, places = call["self"], call["indices"]
    spatial = 2 if call.op == "aten.max_unpool2d" else 3
    if any(dim is not None for value in (x, places) for dim in value.dims[-spatial:]):
        raise Unexplained("it puts values to places along a dimension that shrinks")
    columns = [[(v.dims[i], v.shape[i]) for v in (x, places)] for i in range(len(x.shape) - spatial)]
    dims = [meet(ledger, call, column, product=True) for column in columns]
    return Value(call.shape, (*dims, *[None] * spatial))


def sampled(ledger: Ledger, call: Call) -> Value:
    """grid_sampler: every channel is read at the same places of its space."""
    x, grid = call["input"], call["grid"]
    if any(dim is not None for dim in (*x.dims[2:], *grid.dims)):
        raise Unexplained("it samples along a dimension that shrinks")
    return Value(call.shape, (*x.dims[:2], *[None] * (len(call.shape) - 2)))


def mean(ledger: Ledger, call: Call) -> Value:
    """mean, over space; a mean over channels counts the cut ones."""
    return _reduced(ledger, call, "an average over channels counts the cut ones too")


def total(ledger: Ledger, call: Call) -> Value:
    """sum: over channels the cut ones add nothing, if they are zero."""
    return _reduced(ledger, call, None)


def vector_norm(ledger: Ledger, call: Call) -> Value:
    """The norm of a positive order: over channels the cut ones add nothing, if they are zero."""
    order = call.get("ord") if "ord" in call.arguments else call.get("p")
    if order is not None and not (isinstance(order, (int, float)) and order > 0):
        raise Unexplained("a norm whose order is not a positive number")
    return _reduced(ledger, call, None)


def log_sum_exp(ledger: Ledger, call: Call) -> Value:
    """Logsumexp: over channels every one counts; elsewhere f(0) is not 0."""
    found = _reduced(ledger, call, "exp of a zero channel is one, which counts in a sum over channels")
    reason = "f(0) is not 0, so a cut channel would not be zero behind it"
    return Value(call.shape, tuple(d if d is None else d.broken(call.node, reason) for d in found.dims))


def cosine_similarity(ledger: Ledger, call: Call) -> Value:
    """The cosine of two tensors along a dimension: channels that are zero in both add nothing."""
    pair = (call["x1"], call["x2"])
    ndim = max(len(value.shape) for value in pair)
    axis = int(call["dim"]) % ndim
    columns = aligned(pair, ndim)
    for dim, _ in columns[axis]:
        ledger.read(dim)
    dims = [meet(ledger, call, column, product=True) for column in columns]
    return Value(call.shape, tuple(dims[:axis] + dims[axis + 1 :]))


def extreme(ledger: Ledger, call: Call) -> Value | list[Value]:
    """max, min, amax, amin, var, std, ... over space; over channels the cut ones take part."""
    if call.get("other") is not None:
        return extreme_of_two(ledger, call)
    reduced = _reduced(ledger, call, "over channels the zeros of the cut ones take part")
    return reduced if len(call.shapes) == 1 else [reduced, reduced]


def _reduced(ledger: Ledger, call: Call, refusal: str | None) -> Value:
    x = call.first
    over = axes(call.get("dim"), len(x.dims))
    for i in over:
        dim = x.dims[i]
        if dim is not None and refusal is not None:
            ledger.refuse(call.node, refusal, [dim.atoms])
        ledger.read(dim)
    kept: list[Dim | None] = []
    for i, dim in enumerate(x.dims):
        if i not in over:
            kept.append(dim)
        elif call.get("keepdim"):
            kept.append(None)
    return Value(call.shape, tuple(kept))


def softmax(ledger: Ledger, call: Call) -> Value:
    """Softmax and log_softmax: over channels every one counts; elsewhere f(0) is not 0."""
    x = call.first
    over = axes(call["dim"], len(x.dims))
    shared = [dim.atoms for i in over if (dim := x.dims[i]) is not None]
    ledger.refuse(call.node, "softmax over channels: a zero channel still takes its share", shared)
    reason = "the softmax of zeros is not zero"
    return Value(call.shape, tuple(d if d is None else d.broken(call.node, reason) for d in x.dims))


def axes(dim: int | list[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions that an argument names, counted from the front; none named means all."""
    if dim is None or dim == []:
        return tuple(range(ndim))
    return tuple(one % max(ndim, 1) for one in (dim if isinstance(dim, list) else [dim]))
