"""Call a model with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call_at(model: nn.Module, tensors: Mapping[str, Tensor], args: Any = (), kwargs: Any = None) -> Any:
    """What the model returns with these parameters or buffers; it keeps its own.

    As ``torch.func.functional_call``, which in torch 2.11 to 2.13 leaves its tensors in the model where one module
    stands in it under two names: it takes what it has just put there for the module's own, and puts that back.

    Args:
        model: Any module.
        tensors: By the names of ``named_parameters()`` and ``named_buffers()``; a tied parameter is replaced wherever
            it stands.
        args: Of the call, a tuple or the one argument.
        kwargs: Of the call.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> twice, weight = nn.Sequential(layer, layer), layer.weight
        >>> call_at(twice, {"0.weight": torch.full((1, 1), 3.0)}, torch.ones(1, 1)), layer.weight is weight
        (tensor([[9.]]), True)
    """
    return functional_call(model, placed(model, tensors), args, kwargs, tie_weights=False)


def placed(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by every place in which their own ones stand, each module once.

    Example:
        >>> import torch
        >>> one, other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> other.weight = one.weight
        >>> list(placed(nn.Sequential(one, other, one), {"0.weight": torch.zeros(1, 1)}))
        ['0.weight', '1.weight']
    """
    own = chain(model.named_parameters(), model.named_buffers())
    by_identity = {id(tensor): tensors[name] for name, tensor in own if name in tensors}
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None and id(tensor) in by_identity:
                found[prefix + name] = by_identity[id(tensor)]
    return found
