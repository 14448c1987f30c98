"""Normalisations."""

from __future__ import annotations

import numpy as np

from flowprune.core.units import Role
from flowprune.structure.atoms import Ints
from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.value import Value

NO_SCALE = "a norm without a scale of its own (affine=False) does not keep a zero channel zero"


def channel_norm(ledger: Ledger, call: Call) -> Value:
    """batch_norm and instance_norm: every channel by itself, then scale and shift.

    With its scale and shift zeroed a cut channel is exactly zero behind the norm, whatever came in and whether the
    statistics are running or of the batch. Without any of the four, zeros have mean zero and stay zero.
    """
    x: Value = call["input"]
    weight, bias = call["weight"], call["bias"]
    dim = x.dims[1]
    if any(other is not None for i, other in enumerate(x.dims) if i != 1):
        raise Unexplained("it normalises over a dimension that shrinks")
    scored = dim is not None and not dim.follows
    for value in (weight, bias):
        if value is not None:
            ledger.link(dim, _axis(ledger, value, "norm" if value.parameter else "statistic", scored=scored))
            ledger.own(dim, value.leaf, 0)
    for value in (call["running_mean"], call["running_var"]):
        if value is not None:
            ledger.link(dim, _axis(ledger, value, "statistic"))
    dims = list(x.dims)
    if dim is not None:
        zero = weight is not None and weight.parameter and (bias is None or bias.parameter)
        bare = weight is None and bias is None and call["running_mean"] is None
        dims[1] = dim.whole() if zero else dim if bare else dim.whole().broken(call.node, NO_SCALE)
    return Value(call.shape, tuple(dims))


def _axis(ledger: Ledger, value: Value, role: Role, *, scored: bool = False) -> Ints | None:
    if value.leaf is None:
        raise Unexplained("its scale, shift or statistics are computed")
    return ledger.axis(value.leaf, 0, value.shape[0], role, scored=scored)


def layer_norm(ledger: Ledger, call: Call) -> Value:
    """layer_norm and rms_norm: an index that is normalised over cannot be cut, for the others would change."""
    x: Value = call["input"]
    over = len(call["normalized_shape"])
    kept = len(x.shape) - over
    for value in (call.get("weight"), call.get("bias")):
        for dim in ledger.data(call.node, value, "norm").dims if value is not None else ():
            ledger.link(dim, None)
    ledger.refuse(call.node, "it normalises over the channels", [d.atoms for d in x.dims[kept:] if d is not None])
    reason = "its shift makes something of a zero channel"
    outer = tuple(d if d is None else d.broken(call.node, reason) for d in x.dims[:kept])
    return Value(call.shape, (*outer, *x.dims[kept:]))


def group_norm(ledger: Ledger, call: Call) -> Value:
    """group_norm mixes the channels of a group in one mean and one variance: a group is cut as a whole.

    A group of zeros stays zero; so does one whose scale and shift are zero.
    """
    x: Value = call["input"]
    weight, bias = call.get("weight"), call.get("bias")
    dim, number = x.dims[1], int(call["num_groups"])
    if any(other is not None for i, other in enumerate(x.dims) if i != 1):
        raise Unexplained("it normalises over a dimension that shrinks")
    for value in (weight, bias):
        if value is not None:
            role: Role = "norm" if value.parameter else "statistic"
            ledger.link(dim, _axis(ledger, value, role, scored=dim is not None and not dim.follows))
            ledger.own(dim, value.leaf, 0)
    if dim is None:
        return Value(call.shape, x.dims)
    if number == 1:
        raise Unexplained("it normalises over all channels")
    parts = dim.atoms.reshape(number, -1)
    ledger.atoms.unify(parts, np.broadcast_to(parts[:, :1], parts.shape))
    ledger.count(call.node, "num_groups", parts[:, 0])
    made = weight is not None and weight.parameter and (bias is None or bias.parameter)
    bare = weight is None and bias is None
    dims = list(x.dims)
    dims[1] = dim.whole() if made else dim if bare else dim.broken(call.node, NO_SCALE)
    return Value(call.shape, tuple(dims))
