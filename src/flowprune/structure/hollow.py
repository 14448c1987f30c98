"""A twin without weights: the shapes, types and code of a model, at no cost in memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowprune.structure.twin import copied, without_hooks


def hollow(model: nn.Module, where: str = "trace") -> nn.Module:
    """A copy whose parameters are one number each, repeated; buffers are copied. The user's hooks are left out.

    Enough for ``torch.export``, which looks at no value of a parameter.

    Raises:
        PruningError: the model cannot be copied.

    Example:
        >>> twin = hollow(nn.Linear(1000, 1000))
        >>> twin.weight.shape, twin.weight.untyped_storage().nbytes()
        (torch.Size([1000, 1000]), 4)
    """
    return without_hooks(copied(model, where, {id(param): _hollow(param) for param in model.parameters()}))


def _hollow(param: nn.Parameter) -> nn.Parameter:
    value = torch.zeros((), dtype=param.dtype, device=param.device).expand(param.shape)
    twin = nn.Parameter(value, requires_grad=param.requires_grad)
    for key, item in vars(param).items():
        setattr(twin, key, item)
    return twin


def is_hollow(tensor: Tensor) -> bool:
    """Whether a tensor is one number repeated.

    Example:
        >>> is_hollow(torch.zeros(()).expand(3, 2)), is_hollow(torch.zeros(3, 2))
        (True, False)
    """
    return tensor.numel() > 1 and not any(tensor.stride())
