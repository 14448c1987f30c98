"""Operations that gather over space, or over a whole dimension."""

from __future__ import annotations

from collections.abc import Callable

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.elementwise import extreme_of_two
from flowprune.structure.value import Dim, Value


def over_last(count: int) -> Callable[[Ledger, Call], Value]:
    """The rule of pooling or resizing over the last ``count`` dimensions: a zero channel stays zero."""

    def pooling(ledger: Ledger, call: Call) -> Value:
        del ledger
        x = call.first
        if any(dim is not None for dim in x.dims[len(x.dims) - count :]):
            raise Unexplained("it pools over a dimension that shrinks")
        return Value(call.shape, x.dims)

    return pooling


def mean(ledger: Ledger, call: Call) -> Value:
    """mean, over space; a mean over channels counts the cut ones."""
    return _reduced(ledger, call, "an average over channels counts the cut ones too")


def total(ledger: Ledger, call: Call) -> Value:
    """sum: over channels the cut ones add nothing, if they are zero."""
    return _reduced(ledger, call, None)


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
