"""Products of two computed tensors: attention, and the matrix products it is made of.

Queries, keys and values of a head are one unit: a head whose values are zero adds nothing, whatever its queries and
keys say. With grouped queries a unit is a head of keys and values with all heads of queries that read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.elementwise import FIXED
from flowprune.structure.value import Dim, Value

ONE_HEAD = "the channels of a head are cut with the head, or not at all"
SCALE = "its scale is computed from the number of channels"


def attention(ledger: Ledger, call: Call) -> Value:
    """scaled_dot_product_attention of queries (..., heads, T, D), keys (..., S, D) and values (..., S, E)."""
    query, key, value, mask = call["query"], call["key"], call["value"], call.get("attn_mask")
    places = [tensor.dims[-2] for tensor in (query, key, value)]
    ledger.refuse(call.node, "it attends over positions", [dim.atoms for dim in places if dim is not None])
    ndim = len(call.shape)
    if call.get("enable_gqa"):
        key, value = (_shared(query, tensor) for tensor in (key, value))
    dims: list[Dim | None] = []
    for i in range(ndim - 2):
        column = [tensor.dims[i] for tensor in (query, key, value)]
        sizes = [tensor.shape[i] for tensor in (query, key, value)]
        extra = _of_mask(mask, i - ndim)
        if extra is not None and column[2] is None:
            ledger.link(extra, None)
        found = _together(ledger, call, [*column, extra], [*sizes, extra.size if extra is not None else 0])
        dims.append(None if found is None or column[2] is None else replace(found, breaks=column[2].breaks))
        if found is not None:
            ledger.heads.append(found.atoms)
    return Value(call.shape, (*dims, None, _within(ledger, call, query, key, value)))


def _shared(query: Value, tensor: Value) -> Value:
    """Keys or values as every query head sees them: each head several times in a row."""
    dim, times = tensor.dims[-3], query.shape[-3] // tensor.shape[-3]
    spread = None if dim is None else dim.take(np.repeat(np.arange(dim.size), times))
    shape = (*tensor.shape[:-3], query.shape[-3], *tensor.shape[-2:])
    return Value(shape, (*tensor.dims[:-3], spread, *tensor.dims[-2:]))


def _of_mask(mask: Value | None, place: int) -> Dim | None:
    """A dimension of the mask, counted from the end; of size one it is the same for all heads."""
    if mask is None or len(mask.shape) < -place or mask.shape[place] == 1:
        return None
    return mask.dims[place]


def _within(ledger: Ledger, call: Call, query: Value, key: Value, value: Value) -> Dim | None:
    """The last dimension: the channels of one head."""
    last = len(query.shape) - 1
    inner = [query.dims[last], key.dims[last], value.dims[last]]
    if len(query.shape) > 3 and query.shape[-3] > 1:
        _whole_heads(ledger, call, inner)
    if call.get("scale") is None:
        ledger.refuse(call.node, SCALE, [dim.atoms for dim in inner[:2] if dim is not None])
    _summed(ledger, call, inner[:2], [query.shape[last], key.shape[last]])
    return inner[2]


def contract(
    ledger: Ledger, call: Call, operands: Sequence[Value], labels: Sequence[Sequence[str]], out: Sequence[str]
) -> Value:
    """A sum of products over every label that is not in ``out``, as in ``torch.einsum``.

    A label of several operands that stays pairs their indices: those are examples, heads, or another batch of products.
    """
    tensors = [_operand(ledger, call, value, own, out) for value, own in zip(operands, labels, strict=True)]
    paired = [label for label in out if sum(label in own for own in labels) > 1]
    if len(paired) > 1:
        _whole_heads(ledger, call, [d for t, own in zip(tensors, labels, strict=True) for d in _apart(t, own, paired)])
    result: dict[str, Dim | None] = {}
    for label in dict.fromkeys(label for own in labels for label in own):
        places = [(t, own.index(label)) for t, own in zip(tensors, labels, strict=True) if label in own]
        column, sizes = [t.dims[i] for t, i in places], [t.shape[i] for t, i in places]
        if label not in out:
            _summed(ledger, call, column, sizes)
            continue
        found = _together(ledger, call, column, sizes)
        if found is not None and len(places) > 1:
            ledger.heads.append(found.atoms)
        result[label] = found
    return Value(call.shape, tuple(result[label] for label in out))


def _apart(value: Value, own: Sequence[str], paired: Sequence[str]) -> list[Dim | None]:
    return [dim for dim, label in zip(value.dims, own, strict=True) if label not in paired]


def _whole_heads(ledger: Ledger, call: Call, dims: Sequence[Dim | None]) -> None:
    """Where channels are split into heads, a head is cut as a whole, if that can be done."""
    inner = [dim.atoms for dim in dims if dim is not None and ledger.otherwise(dim)]
    ledger.refuse(call.node, ONE_HEAD, inner)


def _operand(ledger: Ledger, call: Call, value: Value, own: Sequence[str], out: Sequence[str]) -> Value:
    """A parameter makes channels along the labels that stay, and reads along those that are summed."""
    leaf = value.leaf
    if leaf is None or not value.parameter:
        return ledger.data(call.node, value)
    dims: list[Dim | None] = []
    for i, (label, size) in enumerate(zip(own, value.shape, strict=True)):
        made = label in out
        atoms = ledger.axis(leaf, i, size, "weight" if made else "input", scored=made)
        owners = {(leaf.name, leaf.axes[i]): np.arange(size)} if made else {}
        dims.append(None if atoms is None else Dim(atoms, owners=owners))
    return Value(value.shape, tuple(dims))


def _together(ledger: Ledger, call: Call, dims: Sequence[Dim | None], sizes: Sequence[int]) -> Dim | None:
    """Indices that are paired: one dimension, zero where any of the factors is."""
    size = max(sizes)
    alive = [dim for dim, own in zip(dims, sizes, strict=True) if dim is not None and own == size]
    for dim, own in zip(dims, sizes, strict=True):
        if dim is not None and own < size:
            ledger.freeze(dim.atoms)
    if not alive:
        return None
    if any(dim is None and own == size for dim, own in zip(dims, sizes, strict=True)):
        ledger.refuse(call.node, FIXED, _all(call))
        return None
    for dim in alive[1:]:
        ledger.atoms.unify(alive[0].atoms, dim.atoms)
    zero = any(not dim.breaks for dim in alive)
    owners = alive[0].owners if len(alive) == 1 else {}
    return Dim(alive[0].atoms, () if zero else alive[0].breaks, owners, all(dim.follows for dim in alive))


def _summed(ledger: Ledger, call: Call, dims: Sequence[Dim | None], sizes: Sequence[int]) -> None:
    """Indices whose products are added up: zero in one factor is enough."""
    found = _together(ledger, call, dims, sizes)
    ledger.read(found)


def _all(call: Call) -> Iterable[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [dim.atoms for value in call.values for dim in value.dims if dim is not None]


def einsum(ledger: Ledger, call: Call) -> Value:
    """Einsum, with or without an arrow and dots."""
    operands: list[Value] = call["tensors"]
    ins, arrow, out = str(call["equation"]).replace(" ", "").partition("->")
    terms = ins.split(",")
    spare = max((len(v.shape) - len(t.replace("...", "")) for v, t in zip(operands, terms, strict=True)), default=0)
    dots = [f"dot{i}" for i in range(spare)]
    if not arrow:
        letters = ins.replace("...", "").replace(",", "")
        out = ("..." if "..." in ins else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    labels = [_labels(term, dots, len(value.shape)) for term, value in zip(terms, operands, strict=True)]
    if any(len(set(own)) < len(own) for own in labels):
        raise Unexplained("it takes a diagonal")
    return contract(ledger, call, operands, labels, _labels(out, dots, len(call.shape)))


def _labels(term: str, dots: Sequence[str], ndim: int) -> list[str]:
    before, found, after = term.partition("...")
    hidden = ndim - len(before) - len(after)
    return [*before, *(dots[len(dots) - hidden :] if found and hidden else []), *after]


def product_of_two(ledger: Ledger, call: Call, names: Mapping[str, str]) -> Value:
    """matmul, bmm, mm of two tensors, neither of which is a matrix of the model's own."""
    left, right = call[names["left"]], call[names["right"]]
    if len(left.shape) < 2 or len(right.shape) < 2:
        raise Unexplained("a product with a vector")
    spare = max(len(left.shape), len(right.shape)) - 2
    batch = [f"batch{i}" for i in range(spare)]
    one = [*batch[spare - len(left.shape) + 2 :], "row", "inner"]
    two = [*batch[spare - len(right.shape) + 2 :], "inner", "column"]
    return contract(ledger, call, [left, right], [one, two], [*batch, "row", "column"])
