"""Operations that take entries by their place: embeddings, and tables of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch.fx import Node

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.rules.join import PLACE
from flowprune.structure.value import Dim, Value


def embedding(ledger: Ledger, call: Call) -> Value:
    """Embedding with weight (words, channels): it makes channels along its second axis."""
    weight: Value = call["weight"]
    leaf = weight.leaf
    if leaf is None or not weight.parameter:
        raise Unexplained("its table is computed, not a parameter")
    ledger.refuse(call.node, PLACE, [dim.atoms for dim in call["indices"].dims if dim is not None])
    words = ledger.axis(leaf, 0, weight.shape[0], "input")
    ledger.link(None, words)
    made = ledger.axis(leaf, 1, weight.shape[1], "weight", scored=True)
    owners = {(leaf.name, leaf.axes[1]): np.arange(weight.shape[1])}
    channels = None if made is None else Dim(made, owners=owners)
    return Value(call.shape, (*[None] * (len(call.shape) - 1), channels))


def index(ledger: Ledger, call: Call) -> Value:
    """x[i, :, j]: the dimensions that are not indexed stay as they are."""
    x: Value = call["self"]
    places: list[Value | None] = call["indices"]
    if any(place is not None and len(place.shape) > 1 and _is_truth(call, i) for i, place in enumerate(places)):
        raise Unexplained("it takes entries by a mask of several dimensions")
    taken = [i for i, place in enumerate(places) if place is not None]
    looked = [x.dims[i] for i in taken] + [dim for place in places if place is not None for dim in place.dims]
    ledger.refuse(call.node, PLACE, [dim.atoms for dim in looked if dim is not None])
    kept = [(i, dim) for i, dim in enumerate(x.dims) if i not in taken]
    new: list[Dim | None] = [None] * (len(call.shape) - len(kept))
    adjacent = bool(taken) and taken == list(range(taken[0], taken[-1] + 1))
    front = sum(i < taken[0] for i, _ in kept) if adjacent else 0
    dims = [dim for _, dim in kept]
    return Value(call.shape, (*dims[:front], *new, *dims[front:]))


def _is_truth(call: Call, number: int) -> bool:
    node = cast("Sequence[Node]", call.node.args[1])[number]
    return node.meta["val"].dtype == torch.bool


def index_select(ledger: Ledger, call: Call) -> Value:
    """Entries of one dimension, which does not shrink."""
    x: Value = call["self"]
    axis = int(call["dim"]) % len(x.shape)
    dim = x.dims[axis]
    if dim is not None:
        ledger.refuse(call.node, PLACE, [dim.atoms])
    return Value(call.shape, (*x.dims[:axis], None, *x.dims[axis + 1 :]))
