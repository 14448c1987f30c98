"""A call of an operation of PyTorch, and what a rule makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowprune.signals.presence.present import TINY, flows

Rule = Callable[["Call"], Any]
"""The result of the operation on what is there; it is at least zero, and zero where the operation's own is."""


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
    """What a term of a sum brings along: a constant tensor, such as a mask of attention or a bias, brings nothing.

    A number does: it is what keeps a factor such as ``1 + scale`` from being zero. Numbers below a hundredth keep a
    division from one by zero, and do not count.

    Example:
        >>> addend(-1.0), addend(1e-6), addend(torch.ones(2))
        (1.0, 0.0, tensor([0., 0.], dtype=torch.float64))
    """
    if isinstance(item, Tensor):
        return item if flows(item) else torch.zeros(item.shape, dtype=_wide(item), device=item.device)
    return float(abs(item) > 0.01)


def factor(item: Any) -> Any:
    """What a factor of a product is: of a constant, one where it is not zero.

    Example:
        >>> factor(-0.5), factor(0), factor(torch.tensor([0.0, -2.0]))
        (1.0, 0.0, tensor([0., 1.], dtype=torch.float64))
    """
    if isinstance(item, Tensor):
        return item if flows(item) else (item.abs() > TINY).to(_wide(item))
    return float(abs(item) > TINY) if isinstance(item, (int, float)) and not isinstance(item, bool) else item


def _wide(item: Tensor) -> torch.dtype:
    return torch.float32 if item.device.type == "mps" else torch.float64
