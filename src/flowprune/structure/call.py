"""One operation of the graph with its arguments by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node

from flowprune.structure.value import Value, fixed

PYTORCH = str(Path(torch.__file__).parent)
FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*\n([^\n]*)')
"""A frame of a stack trace as PyTorch prints it."""


@dataclass(frozen=True, eq=False)
class Call:
    """A node whose tensor arguments are :class:`Value`.

    Attributes:
        node: Of the graph.
        op: Such as ``"aten.relu"``: neither overload nor the underscore of the in-place form.
        arguments: By the names of the operator's schema, defaults filled in.
    """

    node: Node
    op: str
    arguments: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str) -> Any:
        """An argument, or ``None`` where this overload has none of that name."""
        return self.arguments.get(name)

    @property
    def first(self) -> Value:
        """The tensor that the operation is about."""
        value = next(iter(self.arguments.values()), None)
        return value if isinstance(value, Value) else fixed(())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) result."""
        return self.shapes[0]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of all results."""
        return shapes(self.node)

    @property
    def values(self) -> list[Value]:
        """All tensor arguments, those in lists too."""
        return [value for argument in self.arguments.values() for value in flat(argument)]


def flat(argument: Any) -> list[Value]:
    """The values inside an argument."""
    if isinstance(argument, Value):
        return [argument]
    if isinstance(argument, (list, tuple)):
        return [value for item in argument for value in flat(item)]
    return []


def shapes(node: Node) -> list[tuple[int, ...]]:
    """The shapes of the results of a node; empty where it gives no tensor."""
    result = node.meta.get("val")
    results = result if isinstance(result, (list, tuple)) else [result]
    return [tuple(int(size) for size in item.shape) for item in results if isinstance(item, Tensor)]


def op_name(node: Node) -> str:
    """The operation in one word: ``aten.add_.Tensor`` is ``aten.add``."""
    target = node.target
    if not isinstance(target, OpOverload):
        return getattr(target, "__name__", str(target))
    return target._schema.name.replace("::", ".").rstrip("_")


def in_place(node: Node) -> bool:
    """Whether the operation writes into its first argument."""
    target = node.target
    if not isinstance(target, OpOverload) or not target._schema.arguments:
        return False
    alias = target._schema.arguments[0].alias_info
    return alias is not None and alias.is_write


def bind(node: Node, convert: Mapping[Node, Any]) -> dict[str, Any]:
    """The arguments of a node by name, nodes replaced by what is known of them."""
    args, kwargs = _replaced(node.args, convert), _replaced(node.kwargs, convert)
    target = node.target
    if not isinstance(target, OpOverload):
        return {**{f"argument {i}": a for i, a in enumerate(args)}, **kwargs}
    bound: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(args):
            bound[argument.name] = args[i]
        else:
            bound[argument.name] = kwargs.get(argument.name, argument.default_value)
    return bound


def _replaced(item: Any, convert: Mapping[Node, Any]) -> Any:
    if isinstance(item, Node):
        return convert.get(item)
    if isinstance(item, (list, tuple)):
        return [_replaced(part, convert) for part in item]
    if isinstance(item, Mapping):
        return {key: _replaced(part, convert) for key, part in item.items()}
    return item


def where(node: Node) -> str:
    """The line of the model's code behind a node: ``file:line `code` ``, or the node's name.

    The innermost frame outside PyTorch: a layer's own code explains nothing about the model.
    """
    frames: list[tuple[str, str, str]] = FRAME.findall(node.meta.get("stack_trace") or "")
    outside = [frame for frame in frames if not frame[0].startswith(PYTORCH)]
    if not (outside or frames):
        return node.name
    file, line, code = (outside or frames)[-1]
    return f"{file}:{line} `{code.strip()}`"
