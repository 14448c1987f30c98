"""Which per-example gradients a layer's parameters have, given its input and the gradient of its output.

Each rule takes ``(module, a, b)``: ``a`` the input of n examples, ``b`` the gradient of the *sum* of their losses
with respect to the output, so that row i of ``b`` belongs to the loss of example i alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprune.signals.per_example.contribution import Contribution, Dense, Scattered
from flowprune.signals.per_example.convolved import Convolved
from flowprune.signals.per_example.outer import Outer

Rule = Callable[[Any, Tensor, Tensor], dict[str, Contribution]]
"""``(module, a, b)`` to contributions by the parameter's name within the module."""


def linear(module: nn.Linear, a: Tensor, b: Tensor) -> dict[str, Contribution]:
    """g_i = b_i a_i^T, summed over positions where there are any."""
    a, b = (x.reshape(len(x), -1, x.shape[-1]).transpose(1, 2) for x in (a, b))
    return {"weight": Outer(a, b), "bias": Dense(b.sum(2))}


def convolution(module: nn.Conv2d, a: Tensor, b: Tensor) -> dict[str, Contribution]:
    """The filter's gradient sums over output positions; the bias's too."""
    bias = {} if module.bias is None else {"bias": Dense(b.flatten(2).sum(2))}
    return {"weight": Convolved(module, a, b), **bias}


def batch_norm(module: nn.BatchNorm2d, a: Tensor, b: Tensor) -> dict[str, Contribution]:
    """In eval mode: sum of b x^ and sum of b over positions, x^ = (a - mean) / sqrt(var + eps)."""
    mean, variance = module.running_mean, module.running_var
    assert mean is not None
    assert variance is not None
    a, b = (x.reshape(*x.shape[:2], -1) for x in (a, b))
    shift = b.sum(2)
    scale = (torch.linalg.vecdot(a, b, dim=2) - mean * shift) * torch.rsqrt(variance + module.eps)
    return {"weight": Dense(scale), "bias": Dense(shift)}


def layer_norm(module: nn.LayerNorm, a: Tensor, b: Tensor) -> dict[str, Contribution]:
    """Sums of b x^ and of b over the axes before the normalised ones."""
    normalised = functional.layer_norm(a, module.normalized_shape, eps=module.eps)
    scale, shift = (x.reshape(len(x), -1, *module.normalized_shape).sum(1) for x in (b * normalised, b))
    return {"weight": Dense(scale), "bias": Dense(shift)}


def group_norm(module: nn.GroupNorm, a: Tensor, b: Tensor) -> dict[str, Contribution]:
    """Sums of b x^ and of b over positions."""
    normalised = functional.group_norm(a, module.num_groups, eps=module.eps)
    scale, shift = (x.reshape(*x.shape[:2], -1).sum(2) for x in (b * normalised, b))
    return {"weight": Dense(scale), "bias": Dense(shift)}


def embedding(module: nn.Embedding, a: Tensor, b: Tensor) -> dict[str, Contribution]:
    """The rows that were looked up get b, but the padding row does not."""
    rows, b = a.reshape(len(a), -1), b.reshape(len(b), -1, b.shape[-1])
    if module.padding_idx is not None:
        b = b * (rows != module.padding_idx)[..., None]
    return {"weight": Scattered(rows, b, module.num_embeddings)}


RULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
    nn.Embedding: embedding,
}


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of a module, or ``None`` where there is none for the way it is set up.

    A subclass keeps its parent's rule as long as it keeps its forward.

    Example:
        >>> rule_for(nn.Linear(1, 1)) is linear, rule_for(nn.Bilinear(1, 1, 1))
        (True, None)
    """
    unusual_padding = isinstance(module, nn.modules.conv._ConvNd) and (
        module.padding_mode != "zeros" or isinstance(module.padding, str)
    )
    unusual_table = isinstance(module, nn.Embedding) and (
        module.max_norm is not None or module.scale_grad_by_freq or module.sparse
    )
    if unusual_padding or unusual_table:
        return None
    known = (rule for kind, rule in RULES.items() if isinstance(module, kind) and type(module).forward is kind.forward)
    return next(known, None)
