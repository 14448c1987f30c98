"""Mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowprune.core.errors import invalid
from flowprune.objectives.batch import Forward, outputs, targets_of
from flowprune.objectives.objective import Objective
from flowprune.objectives.output_curvature import Square

if TYPE_CHECKING:
    from torch import Tensor


def mean_squared_error() -> Objective:
    r"""Mean over examples, and over an example's outputs, of (f(x) - y)^2.

    Shapes: output and targets of one shape ``(n, ...)``; nothing is broadcast, because ``(n, 1)`` against
        ``(n,)`` would silently compare every example with every target.
    Units: the square of the target's.

    Raises:
        ValueError: (when called) the shapes differ.

    Example:
        >>> import torch
        >>> batch = (torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [5.0]]))
        >>> mean_squared_error()(lambda x: x, batch)  # (1 + 9) / 2
        tensor(5.)
    """
    return Objective("mean_squared_error", _per_example, output_curvature=Square())


def _per_example(forward: Forward, batch: Any) -> Tensor:
    predicted, targets = outputs(forward, batch), targets_of(batch)
    if predicted.shape != targets.shape:
        rule = f"of the output's shape {tuple(predicted.shape)}"
        raise invalid("mean_squared_error(targets=)", rule, tuple(targets.shape), "Reshape the targets.")
    return (predicted - targets).square().flatten(1).mean(1) if predicted.ndim > 1 else (predicted - targets).square()
