"""Operations that treat every entry alone, and those that pair the entries of two tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flowprune.structure.atoms import Ints
from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.value import Dim, Maker, Value

FIXED = "it pairs channels with a tensor whose size cannot shrink"
SPREAD = "it adds a value that is spread over all channels"
TRUTH = "it says true or false of a cut channel too"


def keeps_zero(ledger: Ledger, call: Call) -> Value:
    """f(0) = 0: relu, gelu, silu, tanh, dropout, abs, neg, ..."""
    del ledger
    return Value(call.shape, call.first.dims)


def breaks_zero(ledger: Ledger, call: Call) -> Value:
    """f(0) is another finite number: sigmoid, exp, cos, softplus, ..."""
    del ledger
    return _broken(call, "f(0) is not 0, so a cut channel would not be zero behind it")


def bounded(ledger: Ledger, call: Call) -> Value:
    """Clamp and hardtanh: zero stays zero where it lies between the bounds."""
    low = call.get("min") if "min" in call.arguments else call.get("min_val")
    high = call.get("max") if "max" in call.arguments else call.get("max_val")
    if isinstance(low, Value) or isinstance(high, Value):
        raise Unexplained("its bounds are tensors")
    inside = (low is None or low <= 0) and (high is None or high >= 0)
    return keeps_zero(ledger, call) if inside else _broken(call, "it moves zero into its bounds")


def threshold(ledger: Ledger, call: Call) -> Value:
    """X where x > threshold, else a value."""
    if call["value"] == 0 or call["threshold"] < 0:
        return keeps_zero(ledger, call)
    return _broken(call, "it replaces zero by another value")


def power(ledger: Ledger, call: Call) -> Value:
    """X to a positive number."""
    exponent = call.get("exponent")
    if isinstance(call["self"], Value) and isinstance(exponent, (int, float)) and exponent > 0:
        return keeps_zero(ledger, call)
    raise Unexplained("a power that is not a positive number")


def prelu(ledger: Ledger, call: Call) -> Value:
    """Relu with a learned slope, one for all or one per channel."""
    x: Value = call["self"]
    slope: Value = call["weight"]
    if slope.leaf is None:
        raise Unexplained("its slopes are computed")
    if slope.shape and len(x.shape) > 1 and slope.shape[0] == x.shape[1]:
        ledger.link(x.dims[1], ledger.axis(slope.leaf, 0, slope.shape[0], "input"))
    return Value(call.shape, x.dims)


def addition(ledger: Ledger, call: Call) -> Value:
    """add, sub, rsub: zero where both are. A parameter is a bias, zeroed with the unit."""
    left, right = call["self"], call["other"]
    if isinstance(right, (int, float)):
        left = ledger.data(call.node, left)
        same = right == 0 and call.op != "aten.rsub"
        return Value(call.shape, left.dims) if same else _broken(call, "it adds a number to a cut channel", left)
    return _paired(ledger, call, left, right, product=False)


def product(ledger: Ledger, call: Call) -> Value:
    """mul: zero where one of the two is. A parameter is a scale."""
    left, right = call["self"], call["other"]
    if isinstance(right, (int, float)):
        return Value(call.shape, ledger.data(call.node, left).dims)
    return _paired(ledger, call, left, right, product=True)


def quotient(ledger: Ledger, call: Call) -> Value:
    """Div by a number, or by a tensor that is the same for all channels."""
    left, right = call["self"], call["other"]
    if isinstance(right, (int, float)):
        return Value(call.shape, ledger.data(call.node, left).dims)
    divisor = ledger.data(call.node, right)
    if not isinstance(left, Value):
        return inverse(ledger, call, divisor)
    if any(dim is not None and not dim.breaks for dim in divisor.dims):
        raise Unexplained("it divides by channels, which may be zero")
    return _paired(ledger, call, left, divisor, product=True)


def inverse(ledger: Ledger, call: Call, x: Value | None = None) -> Value:
    """rsqrt, reciprocal, log: f(0) is infinite, so a channel may not be zero here."""
    del ledger
    x = call.first if x is None else x
    if any(dim is not None and not dim.breaks for dim in x.dims):
        raise Unexplained("f(0) is infinite")
    return Value(call.shape, x.dims)


def extreme_of_two(ledger: Ledger, call: Call) -> Value:
    """Maximum and minimum: zero where both are."""
    return _paired(ledger, call, call["self"], call["other"], product=False)


def copied(ledger: Ledger, call: Call) -> Value:
    """Copy: the second tensor in the place of the first."""
    return _paired(ledger, call, call["self"], call["src"], product=False)


def interpolated(ledger: Ledger, call: Call) -> Value:
    """Lerp: a + w·(b - a), zero where a and b are, whatever w is: where w alone is zero, a is left."""
    ends, weight = _paired(ledger, call, call["self"], call["end"], product=False), call["weight"]
    if not isinstance(weight, Value):
        return ends
    both = _paired(ledger, call, ends, weight, product=True)
    own = [None] * (len(both.dims) - len(ends.dims)) + list(ends.dims)
    dims = [
        dim if dim is None else dim.broken(call.node, SPREAD) if end is None else replace(dim, breaks=end.breaks)
        for dim, end in zip(both.dims, own, strict=True)
    ]
    return Value(both.shape, tuple(dims))


def added_product(ledger: Ledger, call: Call) -> Value:
    """Addcmul: a + v·b·c."""
    product_of_two = _paired(ledger, call, call["tensor1"], call["tensor2"], product=True)
    return _paired(ledger, call, call["self"], product_of_two, product=False)


def filled_like(ledger: Ledger, call: Call) -> Value:
    """full_like, randn_like, ...: another content in the same sizes."""
    del ledger
    return _broken(call, "it fills in numbers")


def compared(ledger: Ledger, call: Call) -> Value:
    """eq, lt, logical_and, ...: true or false, for a cut channel as for any other."""
    left, right = call["self"], call.get("other")
    if not isinstance(right, Value):
        return _broken(call, TRUTH)
    paired = _paired(ledger, call, left, right, product=False)
    return Value(call.shape, tuple(d if d is None else d.broken(call.node, TRUTH) for d in paired.dims))


def chosen(ledger: Ledger, call: Call) -> Value:
    """Where, masked_fill: one of two, as a third says; zero where both are."""
    names = ("condition", "self", "other") if call.op == "aten.where" else ("mask", "self", "value")
    condition, *parts = (call.get(name) for name in names)
    values = [part if isinstance(part, Value) else Value((), ()) for part in parts]
    filled = any(part.shape == () if isinstance(part, Value) else part != 0 for part in parts)
    columns = aligned([*values, condition], len(call.shape))
    dims: list[Dim | None] = []
    for column in columns:
        *pair, mask = column
        dim = meet(ledger, call, [one for one, value in zip(pair, values, strict=True) if value.shape] or [mask])
        if mask[0] is not None:
            same = dim is not None and mask[1] == dim.size
            ledger.link(mask[0], dim.atoms if same and dim is not None else None)
        dims.append(dim.broken(call.node, "it fills in a number") if dim is not None and filled else dim)
    return Value(call.shape, tuple(dims))


def _paired(ledger: Ledger, call: Call, left: Value, right: Value, *, product: bool) -> Value:
    """Two tensors, broadcast against each other; paired dimensions become one."""
    values = [_operand(ledger, call, one, other, product=product) for one, other in ((left, right), (right, left))]
    shape = np.broadcast_shapes(left.shape, right.shape)
    dims = [meet(ledger, call, column, product=product) for column in aligned(values, len(shape))]
    for value, other in ((left, right), (right, left)):
        if value.leaf is not None:
            _owned(ledger, value, other)
    return Value(shape, tuple(dims))


def _operand(ledger: Ledger, call: Call, value: Value, other: Value, *, product: bool) -> Value:
    """An operand; a tensor of the model belongs to whoever owns the other operand."""
    if value.leaf is None:
        return value
    follows = all(dim.follows for dim in other.dims if dim is not None)
    found = ledger.data(call.node, value, "norm" if product else "bias", scored=product and not follows)
    partners = aligned([found, other], max(len(found.shape), len(other.shape)))[-len(found.shape) :]
    dims = [
        dim if dim is None or partner is None or partner.size != dim.size else replace(dim, owners=partner.owners)
        for (dim, _), (partner, _) in partners[: len(found.shape)]
    ]
    return Value(found.shape, tuple(dims))


def aligned(values: Sequence[Value], ndim: int) -> list[list[tuple[Dim | None, int]]]:
    """For each dimension of the result, what each operand brings: its dimension and size (1: it is spread)."""
    padded = [
        [(None, 1)] * (ndim - len(value.shape)) + list(zip(value.dims, value.shape, strict=True)) for value in values
    ]
    return [list(column) for column in zip(*padded, strict=True)]


def meet(
    ledger: Ledger, call: Call, operands: Sequence[tuple[Dim | None, int]], *, product: bool = False
) -> Dim | None:
    """Make the operands' dimensions one, and carry the zero proof over.

    An operand of size one is spread over the channels: it scales them (still zero) or adds to them (no longer).
    """
    size = max(size for _, size in operands)
    for dim, own in operands:
        if dim is not None and own < size:
            ledger.freeze(dim.atoms)  # one channel for all: without it nothing would be left
    dims = [dim for dim, own in operands if dim is not None and own == size]
    if not dims:
        return None
    if any(dim is None and own == size for dim, own in operands):
        ledger.refuse(call.node, FIXED, [dim.atoms for dim in dims])
        return None
    for other in dims[1:]:
        ledger.atoms.unify(dims[0].atoms, other.atoms)
    breaks = tuple(item for dim in dims for item in dim.breaks)
    if product and any(not dim.breaks for dim in dims):
        breaks = ()
    result = Dim(dims[0].atoms, breaks, _common(dims), all(dim.follows for dim in dims))
    spread = not product and any(own < size for _, own in operands)
    return result.broken(call.node, SPREAD) if spread else result


def _common(dims: Sequence[Dim]) -> dict[Maker, Ints]:
    """The weights that own all of these alike: f(x) + x is still the filter's own, conv1 + conv2 is nobody's."""
    return {
        maker: positions
        for maker, positions in dims[0].owners.items()
        if all(maker in dim.owners and np.array_equal(dim.owners[maker], positions) for dim in dims[1:])
    }


def _owned(ledger: Ledger, value: Value, other: Value) -> None:
    """A parameter that is added to, or multiplied with, what one weight made belongs to that weight."""
    offset = len(other.shape) - len(value.shape)
    if value.leaf is None or not value.parameter:
        return
    for dim, size in enumerate(value.shape):
        if dim + offset >= 0 and size == other.shape[dim + offset]:
            ledger.own(other.dims[dim + offset], value.leaf, dim)


def _broken(call: Call, reason: str, x: Value | None = None) -> Value:
    x = call.first if x is None else x
    dims = tuple(dim if dim is None else dim.broken(call.node, reason) for dim in x.dims)
    return Value(call.shape, dims)
