"""Operations that add up over channels with a weight: convolutions, linear layers, products with a matrix.

What they read must be zero where a unit is cut; what they write is zero there, because the weight's slice and the
bias's entry are zeroed with the unit.
"""

from __future__ import annotations

import numpy as np

from flowprune.structure.atoms import Ints
from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.attention import product_of_two
from flowprune.structure.rules.elementwise import aligned, meet
from flowprune.structure.value import Dim, Leaf, Maker, Value

BIASED = "its bias is added along a dimension that shrinks"


def convolution(ledger: Ledger, call: Call) -> Value:
    """conv1d, conv2d, conv3d with weight (out, in/groups, ...), grouped and depthwise.

    In a grouped convolution the j-th channel of every group is one unit, on either side, so that the groups stay
    equal and their number stays.
    """
    x, weight = call["input"], call["weight"]
    leaf = _weight(weight)
    channel = _channel(x, weight)
    groups = int(call["groups"])
    # One channel that is left of a depthwise convolution looks like an ordinary one.
    single = weight.shape[:2] == (1, 1) and x.dims[channel] is not None
    if weight.shape[1] == 1 and (groups > 1 or single):
        return _placed(call, channel, _depthwise(ledger, call, x.dims[channel], out_axis=0))
    read = ledger.axis(leaf, 1, weight.shape[1], "input")
    _read(ledger, x.dims[channel], None if read is None else np.tile(read, groups))
    made = ledger.axis(leaf, 0, weight.shape[0], "weight", scored=True)
    if made is not None and groups > 1:
        _couple(ledger, made, groups)
    return _placed(call, channel, _written(ledger, call, made, (leaf.name, leaf.axes[0])))


def transposed_convolution(ledger: Ledger, call: Call) -> Value:
    """conv_transpose1d, 2d, 3d with weight (in, out/groups, ...)."""
    x, weight = call["input"], call["weight"]
    leaf = _weight(weight)
    channel = _channel(x, weight)
    groups = int(call["groups"])
    single = weight.shape[:2] == (1, 1) and x.dims[channel] is not None
    if groups == weight.shape[0] and (groups > 1 or single):
        if weight.shape[1] > 1:
            raise Unexplained("a depthwise transposed convolution with more than one filter per channel")
        return _placed(call, channel, _depthwise(ledger, call, x.dims[channel], out_axis=0))
    read = ledger.axis(leaf, 0, weight.shape[0], "input")
    if read is not None and groups > 1:
        _couple(ledger, read, groups)
    _read(ledger, x.dims[channel], read)
    made = ledger.axis(leaf, 1, weight.shape[1], "weight", scored=True)
    tiled = None if made is None else np.tile(made, groups)
    return _placed(call, channel, _written(ledger, call, tiled, (leaf.name, leaf.axes[1])))


def linear(ledger: Ledger, call: Call) -> Value:
    """Linear with weight (out, in), on the last dimension."""
    return _product(ledger, call, call["input"], call["weight"], read=1, made=0)


def matrix_product(ledger: Ledger, call: Call) -> Value:
    """X @ W with a parameter W (in, out), or of two computed tensors; mm, bmm, matmul, and addmm with a bias."""
    left = next(name for name in ("mat1", "self") if name in call.arguments)
    right = next(name for name in ("mat2", "other") if name in call.arguments)
    weight: Value = call[right]
    if weight.parameter and len(weight.shape) == 2:
        return _product(ledger, call, call[left], weight, read=0, made=1)
    if _addend(call) is not None:
        raise Unexplained("its weight is computed, not a parameter")
    return product_of_two(ledger, call, {"left": left, "right": right})


def added_product(ledger: Ledger, call: Call) -> Value:
    """Baddbmm: a tensor plus the products of two batches of matrices."""
    product = product_of_two(ledger, call, {"left": "batch1", "right": "batch2"})
    columns = aligned([call["self"], product], len(call.shape))
    return Value(call.shape, tuple(meet(ledger, call, column) for column in columns))


def _product(ledger: Ledger, call: Call, x: Value, weight: Value, *, read: int, made: int) -> Value:
    leaf = _weight(weight)
    if len(weight.shape) != 2:
        raise Unexplained("a product with a parameter that is not a matrix")
    x = ledger.data(call.node, x)
    last = len(x.shape) - 1
    _read(ledger, x.dims[last], ledger.axis(leaf, read, weight.shape[read], "input"))
    atoms = ledger.axis(leaf, made, weight.shape[made], "weight", scored=True)
    maker = (leaf.name, leaf.axes[made])
    biased = call.get("bias") is not None or _addend(call) is not None
    dims = [d if d is None or not biased else d.broken(call.node, BIASED) for d in x.dims]
    dims[last] = _written(ledger, call, atoms, maker)
    return Value(call.shape, tuple(dims))


def _depthwise(ledger: Ledger, call: Call, x: Dim | None, *, out_axis: int) -> Dim | None:
    """One filter per channel: the output lives and dies with the input, and ``groups`` shrinks with it."""
    weight: Value = call["weight"]
    leaf, size = _weight(weight), weight.shape[out_axis]
    made = ledger.axis(leaf, out_axis, size, "weight")
    if x is not None and leaf.name not in ledger.depthwise:
        ledger.refuse(call.node, "the number of groups is not the attribute of a convolution module", [x.atoms])
    per_channel = size // int(call["groups"])
    follower = None if x is None else x.take(np.repeat(np.arange(x.size), per_channel)).whole()
    ledger.link(follower, made)
    if follower is None:
        return None
    owners = {**follower.owners, (leaf.name, leaf.axes[out_axis]): np.arange(size)}
    for maker, positions in follower.owners.items():
        ledger.belongs(maker, leaf, out_axis, positions)
    out = Dim(follower.atoms, owners=owners, follows=True)
    return _biased(ledger, call, out)


def _written(ledger: Ledger, call: Call, made: Ints | None, maker: Maker) -> Dim | None:
    """The output dimension, whose atoms are the weight's own."""
    if made is None:
        _biased(ledger, call, None)
        return None
    positions = np.searchsorted(np.unique(made), made)  # a grouped weight repeats its own
    return _biased(ledger, call, Dim(made, owners={maker: positions}))


def _biased(ledger: Ledger, call: Call, out: Dim | None) -> Dim | None:
    """The output after its bias, which is zeroed with the unit where it is a parameter."""
    bias = call.get("bias") if "bias" in call.arguments else _addend(call)
    if bias is None:
        return out
    if bias.leaf is None or len(bias.shape) != 1:
        raise Unexplained("its bias is computed, not a parameter")
    if out is not None and bias.shape[0] != out.size:
        raise Unexplained("its bias is one number for all channels")
    ledger.link(out, ledger.axis(bias.leaf, 0, bias.shape[0], "bias" if bias.parameter else "statistic"))
    ledger.own(out, bias.leaf, 0)
    if out is not None and not bias.parameter:
        return out.broken(call.node, f"its bias {bias.leaf.name!r} is not a parameter, so it is not zeroed")
    return out


def _addend(call: Call) -> Value | None:
    return call["self"] if call.op == "aten.addmm" else None


def _weight(value: Value | None) -> Leaf:
    if value is None or value.leaf is None or not value.parameter:
        raise Unexplained("its weight is computed, not a parameter")
    return value.leaf


def _read(ledger: Ledger, x: Dim | None, axis: Ints | None) -> None:
    ledger.read(x)
    ledger.link(x, axis)


def _couple(ledger: Ledger, axis: Ints, groups: int) -> None:
    """The j-th position of every group is one."""
    parts = axis.reshape(groups, -1)
    ledger.atoms.unify(parts, np.broadcast_to(parts[0], parts.shape))


def _channel(x: Value, weight: Value) -> int:
    """The channel dimension: the one before as many spatial ones as the weight has."""
    channel = len(x.shape) - len(weight.shape) + 1
    if any(dim is not None for i, dim in enumerate(x.dims) if i != channel):
        raise Unexplained("it filters along a dimension that shrinks")
    return channel


def _placed(call: Call, channel: int, out: Dim | None) -> Value:
    dims: list[Dim | None] = [None] * len(call.shape)
    dims[channel] = out
    return Value(call.shape, tuple(dims))
