"""What a linear or convolution layer multiplies its weights with: a row of inputs for every output that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeGuard, cast

from torch import Tensor, nn
from torch.nn import functional

from flowprune.core.tensors import wide

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
PATCH_BYTES: Final = 1 << 26
"""At most so much of patches at a time, or those of one example."""


def is_layer(module: nn.Module) -> TypeGuard[Layer]:
    """Whether the module gives W x + b, with W a parameter of its own.

    Subclasses that compute something else, and weights that are computed from others, are not such layers.

    Example:
        >>> is_layer(nn.Conv2d(1, 1, 3)), is_layer(nn.ConvTranspose2d(1, 1, 3)), is_layer(nn.Embedding(2, 2))
        (True, False, False)
        >>> is_layer(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
        False
    """
    as_is = any(isinstance(module, kind) and type(module).forward is kind.forward for kind in LAYERS)
    return as_is and module._parameters.get("weight") is not None


def groups_of(layer: Layer) -> int:
    """How many groups of outputs read inputs of their own."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def patches(layer: Layer, x: Tensor) -> Iterator[Tensor]:
    """The inputs of every output position in float64, a part of the batch at a time.

    Padding, of any mode, is part of them; so weights of shape (outputs, D) times a row are the output without bias.

    Shapes: ``(groups, rows, D)`` with D the entries of one filter, in the order of ``weight[0].flatten()``; rows are
    examples times positions, positions innermost.

    Example:
        >>> import torch
        >>> layer = nn.Conv1d(1, 1, 2)
        >>> [rows.tolist() for rows in patches(layer, torch.tensor([[[1.0, 2.0, 3.0]]]))]
        [[[[1.0, 2.0], [2.0, 3.0]]]]
    """
    x = as_batch(layer, x)
    shape = _windows(layer, padded(layer, x[:1])).shape
    each = 8 * shape[0] * shape[2:].numel()
    most = max(1, PATCH_BYTES // each)
    for start in range(0, len(x), most):
        found = _windows(layer, padded(layer, wide(x[start : start + most])))
        yield found.reshape(found.shape[0], -1, layer.weight[0].numel())


def as_batch(layer: Layer, x: Tensor) -> Tensor:
    """The input with examples on its first axis: for a linear layer, every row is one.

    Example:
        >>> import torch
        >>> as_batch(nn.Linear(3, 1), torch.zeros(2, 5, 3)).shape, as_batch(nn.Conv1d(2, 1, 1), torch.zeros(2, 5)).shape
        (torch.Size([10, 3]), torch.Size([1, 2, 5]))
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    return x if x.ndim == layer.weight.ndim else x.unsqueeze(0)


def padded(layer: Layer, x: Tensor) -> Tensor:
    """The input of a convolution with its padding around it; that of a linear layer as it is."""
    if isinstance(layer, nn.Linear):
        return x
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)


def outputs_of(layer: Layer, x: Tensor, *, bias: bool) -> Tensor:
    """W x, and + b where asked for, in float64: what the layer gives for :func:`patches` of the same input.

    Shapes: ``(groups, rows, outputs / groups)``.

    Example:
        >>> import torch
        >>> outputs_of(nn.Linear(3, 4), torch.zeros(2, 3), bias=False).shape
        torch.Size([1, 2, 4])
    """
    weight, shift = wide(layer.weight), wide(layer.bias) if bias and layer.bias is not None else None
    x = wide(as_batch(layer, x))
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, shift).unsqueeze(0)
    convolve = cast("Callable[..., Tensor]", layer._conv_forward)
    found = convolve(x, weight, shift).flatten(2).unflatten(1, (layer.groups, -1))
    return found.permute(1, 0, 3, 2).reshape(layer.groups, -1, found.shape[2])


def _windows(layer: Layer, x: Tensor) -> Tensor:
    """A view of the padded input: group, example, output positions, channels of the group, places of the kernel."""
    if isinstance(layer, nn.Linear):
        return x[None, :, None]
    x = x.contiguous()
    step, skip = layer.stride, layer.dilation
    inner, kernel, strides = layer.weight.shape[1], tuple(layer.weight.shape[2:]), x.stride()
    sizes = [(n - s * (k - 1) - 1) // t + 1 for n, k, s, t in zip(x.shape[2:], kernel, skip, step, strict=True)]
    shape = (layer.groups, len(x), *sizes, inner, *kernel)
    moves = [a * t for a, t in zip(strides[2:], step, strict=True)]
    within = [a * s for a, s in zip(strides[2:], skip, strict=True)]
    return x.as_strided(shape, (inner * strides[1], strides[0], *moves, strides[1], *within))
