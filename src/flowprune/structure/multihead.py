"""``nn.MultiheadAttention``: what of it can shrink, which no trial of its code need find out.

Its forward asserts that queries have the width it was built with, and its heads share that width. Only what its last
projection gives is free, and what it projects keys and values from where their width is another (``kdim``, ``vdim``).
"""

from __future__ import annotations

from typing import Any, Final

from torch import nn
from torch.fx import Node

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger
from flowprune.structure.value import Value

TIED: Final = "nn.MultiheadAttention ties its width to its input: its heads stay whole"
NAME: Final = f"{nn.MultiheadAttention.__module__}.{nn.MultiheadAttention.__qualname__}"


def is_multihead(node: Node) -> bool:
    """Whether a node is part of the forward of an ``nn.MultiheadAttention``.

    Example:
        >>> import torch
        >>> from flowprune.structure.call import op_name
        >>> x, model = torch.ones(1, 2, 4), nn.MultiheadAttention(4, 2)
        >>> graph = torch.export.export(model, (x, x, x)).graph
        >>> {is_multihead(node) for node in graph.nodes if op_name(node) == "aten.linear"}
        {True}
    """
    stack: list[Any] = list((node.meta.get("nn_module_stack") or {}).values())
    return bool(stack) and stack[-1][1] in (NAME, nn.MultiheadAttention)


def tie(ledger: Ledger, call: Call, result: Value | list[Value]) -> None:
    """Leave whole what a projection of an ``nn.MultiheadAttention`` reads and gives, as far as it cannot shrink."""
    weight = call.get("weight")
    if call.op != "aten.linear" or not is_multihead(call.node) or not isinstance(weight, Value):
        return
    name = weight.leaf.name.rpartition(".")[2] if weight.leaf is not None else ""
    if "_proj" not in name:  # the last projection, a layer of its own: it reads what is tied already
        return
    values = [result] if name in ("k_proj_weight", "v_proj_weight") else [call["input"], result]
    dims = [dim for value in values if isinstance(value, Value) for dim in value.dims]
    ledger.refuse(call.node, TIED, [dim.atoms for dim in dims if dim is not None])
