"""The masked model: what the smaller one is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprune.core.units import Layout
from flowprune.structure.swapping import swap_


def masked_tensors(model: nn.Module, layout: Layout, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that a mask changes, with the entries of masked units set to zero.

    For ``torch.func.functional_call``; the model is not changed. Filters, biases, and scales and shifts of norms are
    zeroed; running statistics are not.

    Shapes: ``masks[group]`` is boolean ``(group.size,)``, True = kept; each result has its parameter's shape.

    Example:
        >>> from flowprune.core.units import rows
        >>> layer = nn.Linear(1, 2, bias=False)
        >>> masked_tensors(layer, {"weight": rows("weight", 2)}, {"weight": torch.tensor([True, False])})["weight"][1]
        tensor([0.])
    """
    params = dict(model.named_parameters())
    result: dict[str, Tensor] = {}
    for name, mask in masks.items():
        for member in layout[name].members:
            if member.zeroed and member.name in params:
                tensor = result.setdefault(member.name, params[member.name].detach().clone())
                zero_(tensor, member.axis, member.positions[~mask.cpu()[member.units]])
    return result


def mask_(model: nn.Module, layout: Layout, masks: Mapping[str, Tensor]) -> None:
    """Put parameters whose masked units are zero in the place of a model's own, which keep their values."""
    params = dict(model.named_parameters())
    masked = masked_tensors(model, layout, masks)
    swap_(model, {id(params[name]): nn.Parameter(tensor, requires_grad=False) for name, tensor in masked.items()})


@torch.no_grad()
def zero_(tensor: Tensor, axis: int, positions: Tensor) -> None:
    """Zero the slices of a tensor at some positions of an axis, in place."""
    tensor.index_fill_(axis, positions.to(tensor.device), 0)
