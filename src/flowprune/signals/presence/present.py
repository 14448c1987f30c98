"""One where something is there and zero elsewhere, forwards and backwards."""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from flowprune.core.errors import PruningError

TINY = 1e-9
"""What is there is a whole number of paths, or a mean of some; what is not is zero, up to the rounding of float64."""
_OPEN: Any = WeakIdKeyDictionary()


class _Present(torch.autograd.Function):
    """Zeros and ones in both directions: nothing over- or underflows, however deep the network is."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, name: str) -> Tensor:
        """One where a value is not zero."""
        there = values.abs() > TINY
        ctx.name = name
        ctx.save_for_backward(there)
        return there.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """One where a derivative is positive."""
        (grad,) = grads
        require_positive(grad, f"what reads the result of {ctx.name!r}")
        (there,) = ctx.saved_tensors
        return ((grad > TINY) & there).to(grad.dtype), None


def present(values: Tensor, name: str) -> Tensor:
    """One where a value is not zero; its derivative is one where something reads the value.

    Args:
        values: Not negative, or of a sign that does not matter.
        name: Of the operation that made them.

    Example:
        >>> present(torch.tensor([0.0, 5.0]), "add")
        tensor([0., 1.])
    """
    return cast("Tensor", _Present.apply(values, name))


def flows(item: object) -> TypeGuard[Tensor]:
    """Whether paths go through it: it comes from an input or from a weight, and is no constant.

    Example:
        >>> flows(torch.ones(1)), flows(torch.ones(1, requires_grad=True)), flows(1.0)
        (False, True, False)
    """
    return isinstance(item, Tensor) and item.requires_grad and item.is_floating_point()


def set_open(values: Tensor) -> None:
    """Note that a tensor is not zero where no path arrives, as the result of a sigmoid is.

    What it holds stays zero there, for that is no path. But what it multiplies goes through.
    """
    _OPEN[values] = True


def is_open(item: object) -> bool:
    """Whether it was noted.

    Example:
        >>> gate = torch.zeros(1)
        >>> set_open(gate)
        >>> is_open(gate), is_open(torch.zeros(1))
        (True, False)
    """
    return isinstance(item, Tensor) and item in _OPEN


def require_positive(derivative: Tensor, of: str) -> None:
    """Raise where a derivative is negative or NaN: an operation that may cancel what it adds up.

    Raises:
        PruningError: naming the operation before it.
    """
    if not bool((derivative >= -TINY).all()):
        raise PruningError(
            f"effective_weights(model=) must be of operations that never take away from a sum; {of} does. "
            "Ask of the part of the model without it."
        )
