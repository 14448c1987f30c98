"""The shapes of the weights of a model that single-weight pruning is offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.masks.weights import Weights
from flowprune.signals import Signals

Shapes = Mapping[str, Sequence[int]]
"""Shapes by name, in the model's order."""


def weight_shapes(model: nn.Module, *, skip: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters with two or more axes, in the model's order: those of ``fp.Weights(skip)``.

    Args:
        model: Any module; nothing runs and nothing is copied.
        skip: Patterns (``fnmatch``) of parameter names that are left out.

    Raises:
        ValueError: no module, or one whose parameters have no shape yet.

    Example:
        >>> weight_shapes(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)))
        {'0.weight': (4, 1, 3, 3), '3.weight': (2, 4)}
    """
    params: dict[str, Tensor] = dict(require_model("weight_shapes", model).named_parameters())
    prunable = frozenset(name for name, param in params.items() if param.ndim >= 2)
    names = Weights(skip).names(Signals(params=params, prunable=prunable))
    return {name: tuple(params[name].shape) for name in names}
