"""A model in the floating point type that an objective asks for."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.signals.batches import mapped


@dataclass(frozen=True)
class Precise:
    """An objective that asks for a type.

    Attributes:
        objective: What is computed.
        precision: The name of a floating point type of torch.
    """

    objective: Any
    precision: str

    def __call__(self, forward: Any, batch: Any) -> Tensor:
        """The objective's value."""
        return self.objective(forward, batch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "objective":
            raise AttributeError(name)
        return getattr(self.objective, name)


def cast(batch: Any, dtype: torch.dtype) -> Any:
    """A batch with its floating point tensors in a type.

    Example:
        >>> [tensor.dtype for tensor in cast((torch.ones(1), torch.ones(1).long()), torch.float64)]
        [torch.float64, torch.int64]
    """
    return mapped(batch, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def in_precision(model: nn.Module, objective: object) -> nn.Module:
    """The model itself, or a copy in the type that ``objective.precision`` names where it has another one.

    Raises:
        ValueError: no such type.
        PruningError: the model cannot be copied.

    Example:
        >>> from flowprune.objectives import mean_squared_error, synaptic_flow
        >>> layer = nn.Linear(1, 1)
        >>> in_precision(layer, mean_squared_error()) is layer, in_precision(layer, synaptic_flow()).weight.dtype
        (True, torch.float64)
    """
    asked: str | None = getattr(objective, "precision", None)
    if asked is None:
        return model
    wanted = getattr(torch, asked, None)
    if not isinstance(wanted, torch.dtype) or not wanted.is_floating_point:
        raise invalid("objective.precision", "the name of a floating point type of torch, such as 'float64'", asked)
    tensors = (*model.parameters(), *model.buffers())
    if all(tensor.dtype == wanted for tensor in tensors if tensor.is_floating_point()):
        return model
    try:
        return copy.deepcopy(model).to(wanted)
    except Exception as error:
        raise PruningError(
            f"gather(model=) must be a model that copy.deepcopy can copy, to be scored in {asked}; it raised "
            f"{type(error).__name__}: {str(error).rstrip('.')}. Remove tensors with a gradient history from its "
            "attributes."
        ) from error
