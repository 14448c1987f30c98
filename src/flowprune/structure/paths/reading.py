"""From a model to the graph of its weight layers, by the operations that ``torch.export`` captures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from operator import getitem
from typing import Any, cast

from torch import Tensor, nn
from torch.fx import Node

from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, renamed
from flowprune.structure.call import bind, in_place, op_name, shapes, where
from flowprune.structure.capture import Captured, Deadline, capture
from flowprune.structure.example import Example
from flowprune.structure.hollow import hollow
from flowprune.structure.paths.graph import Edge, PathGraph, WeightLayer, Wire, trimmed
from flowprune.structure.rules.table import BREAK_ZERO, INVERSE, KEEP_ZERO, RESHAPE, RESIZED, UNTOUCHED
from flowprune.structure.value import Leaf

TIME_LIMIT = 120.0
"""Seconds after which the capture gives up."""
WALKED = (
    "Linear and Conv layers joined by elementwise functions, norms, pooling, flatten, sums and concatenations, which "
    "is what PHEW walks"
)


@dataclass(frozen=True)
class Carried:
    """A tensor whose axis ``axis`` counts the units of a vertex."""

    vertex: int
    axis: int
    shape: tuple[int, ...]


class Unwalkable(Exception):  # noqa: N818
    """Why an operation is no part of a path."""


@dataclass
class Draft:
    """The graph as far as it has been read."""

    sizes: list[int] = field(default_factory=list[int])
    edges: list[Edge] = field(default_factory=list[Edge])

    def vertex(self, size: int) -> int:
        """A new one."""
        self.sizes.append(size)
        return len(self.sizes) - 1


Arguments = Mapping[str, Any]
Rule = Callable[[Draft, Arguments, tuple[int, ...]], Carried]


def path_graph(model: nn.Module, example_inputs: object) -> PathGraph:
    """The weight layers of a model and how they are joined, in evaluation mode; the model is not changed.

    A unit is a channel of a convolution, or a feature of a linear layer. Elementwise functions, norms and pooling pass
    it through; flatten makes each of its positions a unit; sums join units of one number; concatenations line them up.

    Args:
        model: Any module that ``torch.export`` captures without strict mode.
        example_inputs: A tensor, a tuple of positional or a mapping of named arguments; two examples are enough.

    Raises:
        ValueError: no module, or inputs without a tensor.
        PruningError: the model cannot be captured, or does something else with units; the operation is named.

    Example:
        >>> import torch
        >>> graph = path_graph(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.ones(2, 3))
        >>> graph.sizes, graph.weights
        ((3, 5, 2), ('0.weight', '2.weight'))
    """
    require_model("path_graph", model)
    example = Example.of(example_inputs, "path_graph").first(2).copied()
    with renamed({"trace(": "path_graph("}):
        captured = capture(hollow(model, "path_graph"), example, mode="eval", deadline=Deadline(TIME_LIMIT))
    return _read(captured)


def _read(captured: Captured) -> PathGraph:
    draft, inputs, outputs = Draft(), list[int](), list[int]()
    known: dict[Node, Any] = {}
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            known[node] = captured.leaves.get(node.name) or _input(draft, node)
            inputs += [item.vertex for item in _carried(known[node])]
        elif node.op == "call_function":
            known[node] = _called(draft, node, known)
            if in_place(node) and isinstance(node.args[0], Node):
                known[node.args[0]] = known[node]  # the old name means the new value
        elif node.op == "output":
            outputs += [item.vertex for item in _carried(bind(node, known))]
    graph = trimmed(draft.sizes, draft.edges, inputs, outputs)
    if not graph.inputs or not graph.layers:
        raise PruningError(
            f"path_graph(model=) must be a network of {WALKED}; got one in which no layer of weights leads from an "
            "input to an output. Use another measure, such as magnitude."
        )
    return graph


def _carried(item: Any) -> list[Carried]:
    """The values with units inside an argument."""
    if isinstance(item, Carried):
        return [item]
    parts = item.values() if isinstance(item, Mapping) else item if isinstance(item, (list, tuple)) else ()
    return [found for part in parts for found in _carried(part)]


def _input(draft: Draft, node: Node) -> Carried | None:
    """An input of the model: its units are on axis 1, or on the last one where a linear layer reads it."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dim() < 2 or not node.users:
        return None
    shape = tuple(int(size) for size in value.shape)
    axis = len(shape) - 1 if any(op_name(user) == "aten.linear" for user in node.users) else 1
    return Carried(draft.vertex(shape[axis]), axis, shape)


def _called(draft: Draft, node: Node, known: Mapping[Node, Any]) -> Any:
    if node.target is getitem:
        source = known.get(cast(Node, node.args[0]))
        return source[cast(int, node.args[1])] if isinstance(source, list) else None
    arguments, found = bind(node, known), shapes(node)
    if not _carried(arguments) or not found:
        return None
    name = op_name(node)
    try:
        rule = RULES.get(name)
        if rule is None:
            raise Unwalkable("does something else with units")
        result = rule(draft, arguments, found[0])
    except Unwalkable as reason:
        raise PruningError(
            f"path_graph(model=) must be a network of {WALKED}; got {name} ({where(node)}), which {reason}. Use "
            "another measure, such as synflow."
        ) from None
    return [result] + [None] * (len(found) - 1) if isinstance(node.meta.get("val"), (list, tuple)) else result


def _weights(draft: Draft, arguments: Arguments, shape: tuple[int, ...], axis: int) -> Carried:
    x, weight = arguments["input"], arguments["weight"]
    if not isinstance(x, Carried) or not isinstance(weight, Leaf) or weight.kind != "parameter":
        raise Unwalkable("has a weight that is computed, not a parameter")
    if x.axis != axis:
        raise Unwalkable(f"mixes axis {axis} of its input, while units are on axis {x.axis}")
    target = draft.vertex(shape[axis])
    draft.edges.append(WeightLayer(x.vertex, target, weight.name, arguments.get("groups") or 1))
    return Carried(target, axis, shape)


def _convolution(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    return _weights(draft, arguments, shape, 1)


def _linear(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    return _weights(draft, arguments, shape, len(shape) - 1)


def _one(arguments: Arguments) -> Carried:
    """The one value with units."""
    values = _carried(arguments)
    if len(values) > 1:
        raise Unwalkable("multiplies or mixes two values of the network")
    return values[0]


def _through(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    """Every unit by itself."""
    del draft
    x = _one(arguments)
    if len(shape) != len(x.shape) or shape[x.axis] != x.shape[x.axis]:
        raise Unwalkable("changes the number of units")
    return Carried(x.vertex, x.axis, shape)


def _average(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    """A mean or a sum over space."""
    del draft
    x = _one(arguments)
    given = arguments.get("dim")
    dims = {d % len(x.shape) for d in ([given] if isinstance(given, int) else given or range(len(x.shape)))}
    if x.axis in dims:
        raise Unwalkable("adds up units")
    gone = 0 if arguments.get("keepdim") else sum(d < x.axis for d in dims)
    return Carried(x.vertex, x.axis - gone, shape)


def _reshaped(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    """The axis that holds the units stays, or takes in their positions, which follow it."""
    x = _one(arguments)
    before, units = prod(x.shape[: x.axis]), x.shape[x.axis]
    for axis in range(min(x.axis, 1), len(shape)):
        if prod(shape[:axis]) == before and shape[axis] % units == 0 and shape[axis] > 0:
            spread = shape[axis] // units
            if spread == 1:
                return Carried(x.vertex, axis, shape)
            target = draft.vertex(shape[axis])
            draft.edges.append(Wire(x.vertex, target, units, spread=spread))
            return Carried(target, axis, shape)
    raise Unwalkable("takes units apart")


def _permuted(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    del draft
    x = _one(arguments)
    axes = [d % len(shape) for d in arguments["dims"]]
    return Carried(x.vertex, axes.index(x.axis), shape)


def _transposed(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    del draft
    x = _one(arguments)
    a, b = arguments["dim0"] % len(shape), arguments["dim1"] % len(shape)
    return Carried(x.vertex, {a: b, b: a}.get(x.axis, x.axis), shape)


def _sum(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    """A sum of two values of the network, or of one and a constant."""
    parts = _carried(arguments)
    if len(parts) == 1:
        return _through(draft, arguments, shape)
    axes = {len(shape) - len(part.shape) + part.axis for part in parts}  # shapes are aligned at their ends
    if len(axes) > 1 or len({part.shape[part.axis] for part in parts}) > 1:
        raise Unwalkable("adds units of two kinds")
    axis = axes.pop()
    target = draft.vertex(shape[axis])
    draft.edges += [Wire(part.vertex, target, shape[axis]) for part in parts]
    return Carried(target, axis, shape)


def _joined(draft: Draft, arguments: Arguments, shape: tuple[int, ...]) -> Carried:
    """A concatenation of units, all of them of the network."""
    parts = _carried(arguments)
    axis = (arguments.get("dim") or 0) % len(shape)
    if any(part.axis != axis for part in parts) or sum(part.shape[axis] for part in parts) != shape[axis]:
        raise Unwalkable("joins along another axis than that of the units, or joins constants")
    target, offset = draft.vertex(shape[axis]), 0
    for part in parts:
        draft.edges.append(Wire(part.vertex, target, part.shape[axis], offset))
        offset += part.shape[axis]
    return Carried(target, axis, shape)


_NORMS = ["batch_norm", "instance_norm", "layer_norm", "rms_norm", "group_norm", "softmax", "log_softmax"]
_BOUNDED = ["clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "threshold", "pow", "prelu"]
_SCALED = ["mul", "multiply", "div", "divide", "true_divide"]
_POOLS = ["max_pool{}d", "max_pool{}d_with_indices", "avg_pool{}d", "adaptive_avg_pool{}d", "adaptive_max_pool{}d"]
_POOLED = [name.format(count) for name in _POOLS for count in (1, 2, 3)]
_UPSAMPLED = [name for names in RESIZED.values() for name in names.split()]
_PASSED = [*KEEP_ZERO, *BREAK_ZERO, *INVERSE, *UNTOUCHED, *_NORMS, *_BOUNDED, *_SCALED, *_POOLED, *_UPSAMPLED]
_PADDED = ["pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"]

RULES: Mapping[str, Rule] = {
    f"aten.{name}": rule
    for names, rule in (
        ([*_PASSED, *_PADDED], _through),
        (["conv1d", "conv2d", "conv3d"], _convolution),
        (["linear"], _linear),
        (["mean", "sum"], _average),
        (RESHAPE, _reshaped),
        (["permute"], _permuted),
        (["transpose"], _transposed),
        (["add", "sub", "subtract", "rsub"], _sum),
        (["cat", "concat", "concatenate"], _joined),
    )
    for name in names
}
"""What each operation does to units. An operation that is not among them is refused by name."""
