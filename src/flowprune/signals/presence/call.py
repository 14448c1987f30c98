"""A call of an operation of PyTorch, and what a rule makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowprune.signals.presence.present import TINY, flows, is_open

Rule = Callable[["Call"], Any]
"""The result of the operation on what is there: positive where something arrives, and zero elsewhere."""


@dataclass(frozen=True, eq=False)
class Call:
    """An operation and its arguments.

    Example:
        >>> call = Call("add", torch.add, (torch.ones(1),), {"other": 2})
        >>> call.get(0, "input"), call.get(1, "other"), call.get(2, "alpha", 1)
        (tensor([1.]), 2, 1)
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by position or by name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    @property
    def input(self) -> Any:
        """The first argument, under the name that most operations give it."""
        return self.get(0, "input")


def addend(item: Any) -> Any:
    """What a term of a sum brings along: a constant, such as a mask of attention or a bias, brings nothing.

    Example:
        >>> addend(-1.0), addend(torch.ones(2))
        (0.0, tensor([0., 0.], dtype=torch.float64))
    """
    if isinstance(item, Tensor):
        return item if flows(item) else torch.zeros(item.shape, dtype=_wide(item), device=item.device)
    return 0.0


def factor(item: Any) -> Any:
    """What a factor of a product is: of a constant, one where it is not zero.

    Example:
        >>> factor(-0.5), factor(0), factor(torch.tensor([0.0, -2.0]))
        (1.0, 0.0, tensor([0., 1.], dtype=torch.float64))
    """
    if isinstance(item, Tensor):
        return item if flows(item) else (item.abs() > TINY).to(_wide(item))
    return float(abs(item) > TINY) if isinstance(item, (int, float)) and not isinstance(item, bool) else item


def gate(item: Any) -> Any:
    """A factor that may be open: then it is nowhere zero."""
    return 1.0 + item if is_open(item) else factor(item)


def is_weight(item: object) -> bool:
    """Whether it is a weight itself, or one seen from another side, such as its transpose."""
    if not flows(item):
        return False
    return (item if item._base is None else item._base).is_leaf


def _wide(item: Tensor) -> torch.dtype:
    return torch.float32 if item.device.type == "mps" else torch.float64
