"""Walk a graph once, in order of execution, and apply the rule of every operation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from operator import getitem
from typing import Any, cast

from torch import Tensor
from torch.fx import Node

from flowprune.structure.call import Call, bind, flat, in_place, op_name, shapes
from flowprune.structure.capture import Captured, Deadline
from flowprune.structure.ledger import Ledger, Unexplained
from flowprune.structure.multihead import TIED, is_multihead, tie
from flowprune.structure.rules import Row
from flowprune.structure.value import Dim, Value, fixed

SILENT = ("aten._assert", "aten.sym_")
"""Operations that check or read sizes; they move no channel."""


def walk(captured: Captured, ledger: Ledger, rules: Mapping[str, Row], deadline: Deadline, *, number: int = 0) -> None:
    """Write into the ledger what the operations of a graph say about channels.

    Several graphs of one model may be walked into one ledger: what one of them couples or refuses holds for all. They
    are told apart by their number.

    Raises:
        PruningError: the deadline has passed.
    """
    ledger.graph = number
    known: dict[Node, Any] = {}
    for node in captured.graph.nodes:
        deadline.check()
        if node.op == "placeholder":
            known[node] = _placeholder(captured, node)
        elif node.op == "call_function":
            ledger.node = node
            known[node] = _called(ledger, rules, node, known)
        elif node.op == "output":
            ledger.node = None
            for value in flat(bind(node, known)["argument 0"]):
                for dim in value.dims if value.leaf is None else ledger.data(node, value).dims:
                    ledger.link(dim, None)


def _placeholder(captured: Captured, node: Node) -> Value | None:
    tensor = node.meta.get("val")
    if not isinstance(tensor, Tensor):
        return None
    shape = tuple(int(size) for size in tensor.shape)
    return Value(shape, (None,) * len(shape), captured.leaves.get(node.name))


def _called(ledger: Ledger, rules: Mapping[str, Row], node: Node, known: dict[Node, Any]) -> Any:
    if node.target is getitem:
        source, place = known.get(cast(Node, node.args[0])), cast(int, node.args[1])
        return source[place] if isinstance(source, list) else source
    name = op_name(node)
    if name.startswith(SILENT):
        return None
    row = rules.get(name)
    raw = bind(node, known)
    axes = [axis for made, axis in ledger.lessons.made if made == ledger.spot(node)]
    if axes:
        return _constant(ledger, node, axes)
    try:
        disproved = ledger.lessons.reason(ledger.spot(node))
        if row is None or disproved is not None:
            raise Unexplained(disproved or "no rule explains this operation")
        leaves = row.leaves
        call = Call(node, name, {k: a if k in leaves else _data(ledger, node, a) for k, a in raw.items()})
        result = _checked(call, row.rule(ledger, call))
    except Unexplained as reason:
        return _left_whole(ledger, Call(node, name, raw), TIED if is_multihead(node) else str(reason))
    tie(ledger, call, result)
    ledger.note(node, call.values, result)
    if in_place(node):
        _overwrite(ledger, node, known, result)
    return result


def _constant(ledger: Ledger, node: Node, axes: Collection[int]) -> Value:
    """A tensor of one number everywhere, some of whose axes are as long as there are channels."""
    shape = shapes(node)[0]
    reason = "it fills in a number"
    dims = [Dim(ledger.atoms.new(n)).broken(node, reason) if i in axes else None for i, n in enumerate(shape)]
    value = Value(shape, tuple(dims))
    ledger.note(node, (), value)
    return value


def _data(ledger: Ledger, node: Node, argument: Any) -> Any:
    """An argument whose tensors of the model are operands like any other."""
    if isinstance(argument, Value):
        return ledger.data(node, argument)
    if isinstance(argument, list):
        return [_data(ledger, node, item) for item in argument]
    return argument


def _checked(call: Call, result: Value | list[Value]) -> Value | list[Value]:
    """A rule whose result has other sizes than the graph's has not understood the operation."""
    values = result if isinstance(result, list) else [result]
    for value, shape in zip(values, call.shapes, strict=False):
        sizes = [dim.size if dim is not None else size for dim, size in zip(value.dims, shape, strict=False)]
        if value.leaf is None and (len(value.dims) != len(shape) or tuple(sizes) != shape):
            raise Unexplained("its sizes are not what its rule expects")
    return result


def _left_whole(ledger: Ledger, call: Call, reason: str) -> Any:
    """Nothing that flows into an unexplained operation is cut, and nothing that comes out can shrink."""
    touched: list[Dim | None] = [dim for value in call.values for dim in ledger.data(call.node, value, "input").dims]
    ledger.refuse(call.node, reason, [dim.atoms for dim in touched if dim is not None])
    results = [fixed(shape) for shape in shapes(call.node)]
    ledger.note(call.node, call.values, results)
    is_list = isinstance(call.node.meta.get("val"), (list, tuple))
    return results if is_list or not results else results[0]


def _overwrite(ledger: Ledger, node: Node, known: dict[Node, Any], result: Any) -> None:
    """After an in-place operation the old name means the new value, and so do views of it.

    Views are not followed: a channel that stops being zero in place is left whole at once.
    """
    target = node.args[0]
    before = known.get(target) if isinstance(target, Node) else None
    if not isinstance(before, Value) or not isinstance(result, Value):
        return
    if before.leaf is not None:
        found = [dim.atoms for dim in (*result.dims, *ledger.data(node, before).dims) if dim is not None]
        ledger.refuse(node, f"it writes into {before.leaf.name!r}", found)
        return
    for dim in result.dims:
        ledger.read(dim)
    known[cast(Node, target)] = result
