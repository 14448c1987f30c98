"""Layers: sums of products with weights, norms, pools, lookups and attention on what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.signals.presence.call import Call, Rule, addend, factor, gate, is_weight
from flowprune.signals.presence.present import flows, present

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
ADAPTIVE = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


def product(call: Call) -> Any:
    """A product of matrices. Where one of two is a weight, the other is what it reads, and opens nothing."""
    operands = [item for item in tree_leaves((call.args, dict(call.kwargs))) if isinstance(item, Tensor)]
    linear = len(operands) == 2 and any(is_weight(item) for item in operands)
    return _with(factor if linear else gate, call)


def affine(call: Call) -> Any:
    """A linear layer or a convolution, its bias left out: it begins no path."""
    at = 3 if call.name == "bilinear" else 2
    args = tuple(None if i == at else item for i, item in enumerate(call.args))
    kwargs = {name: None if name == "bias" else item for name, item in call.kwargs.items()}
    return _with(factor, Call(call.name, call.func, args, kwargs))


def _with(read: Callable[[Any], Any], call: Call) -> Any:
    """The operation itself, its tensors read as factors."""

    def changed(item: Any) -> Any:
        return read(item) if isinstance(item, Tensor) and item.is_floating_point() else item

    args, kwargs = tree_map(changed, (call.args, dict(call.kwargs)))
    return call.func(*args, **kwargs)


def added_product(call: Call) -> Any:
    """``addmm`` and its like: a sum with a product, whatever either is scaled by."""
    return addend(call.input) + torch.matmul(factor(call.args[1]), factor(call.args[2]))


def channel_norm(call: Call) -> Any:
    """A norm over a batch, an instance or a group: it passes each channel, times its scale."""
    weight = call.get(2 if call.name == "group_norm" else 3, "weight")
    if weight is None:
        return call.input
    return call.input * factor(weight).view(1, -1, *[1] * (call.input.dim() - 2))


def last_axes_norm(call: Call) -> Any:
    """A layer norm: it passes each entry, times its scale."""
    weight = call.get(2, "weight")
    return call.input if weight is None else call.input * factor(weight)


def weight_norm(call: Call) -> Any:
    """A weight of direction and length: there where both are."""
    return factor(call.input) * factor(call.get(1, "g"))


def max_pool(call: Call) -> Any:
    """Every position of the window may be the largest one."""
    x, size = call.input, call.get(1, "kernel_size", call.get(1, "output_size"))
    dims = int(next(letter for letter in call.name if letter.isdigit()))
    pooled = ADAPTIVE[dims](x, size) if call.name.startswith("adaptive") else _windows(call, x, size, dims)
    if call.name.endswith("with_indices") or call.get(2 if "adaptive" in call.name else 6, "return_indices", False):
        with torch.no_grad():
            return pooled, call.func(*call.args, **call.kwargs)[1]
    return pooled


def _windows(call: Call, x: Tensor, size: Any, dims: int) -> Tensor:
    stride, padding = call.get(2, "stride"), call.get(3, "padding", 0)
    dilation, ceil_mode = call.get(4, "dilation", 1), bool(call.get(5, "ceil_mode", False))
    if dilation in (1, (1,) * dims, [1] * dims):
        return AVERAGES[dims](x, size, stride or size, padding, ceil_mode)
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    images = x.reshape(-1, 1, *x.shape[-dims:])
    summed = CONVOLUTIONS[dims](images, x.new_ones(1, 1, *sizes), None, stride or size, padding, dilation)
    return summed.view(*x.shape[:-dims], *summed.shape[-dims:])


def lookup(call: Call) -> Any:
    """An embedding: some input looks up each of its rows, whatever the example does."""
    first, second = call.input, call.get(1, "weight")
    ids, weight = (second, first) if flows(first) else (first, second)
    row = present(weight.sum(0), call.name)
    if call.name == "embedding":
        return row.expand(*ids.shape, len(row))
    offsets = call.get(2, "offsets")
    last = bool(call.get(9, "include_last_offset", False))
    return row.expand(len(ids) if offsets is None else len(offsets) - last, len(row))


def attention(call: Call) -> Any:
    """Values through weights that are never zero, and what makes these weights: queries where keys are, and so back."""
    query, key, value = (factor(call.get(i, name)) for i, name in enumerate(("query", "key", "value")))
    if query.dim() > 2 and call.kwargs.get("enable_gqa", False):
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = torch.matmul(query, key.transpose(-2, -1))
    bias = call.get(3, "attn_mask")
    weights = 1.0 + present(scores + bias if flows(bias) else scores, call.name)
    return torch.matmul(weights, value)


PRODUCTS: Final = frozenset(
    [
        "matmul",
        "rmatmul",
        "bmm",
        "mm",
        "mv",
        "dot",
        "inner",
        "outer",
        "einsum",
        "tensordot",
        "linalg_multi_dot",
        "chain_matmul",
    ]
)
AFFINE: Final = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d bilinear"
POOLS: Final = [
    f"{kind}max_pool{n}d{end}" for kind in ("", "adaptive_") for n in "123" for end in ("", "_with_indices")
]
LAYERS: Final[dict[str, Rule]] = {
    **dict.fromkeys(PRODUCTS, product),
    **dict.fromkeys(AFFINE.split(), affine),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), added_product),
    **dict.fromkeys(("batch_norm", "instance_norm", "group_norm"), channel_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), last_axes_norm),
    **dict.fromkeys(POOLS, max_pool),
    **dict.fromkeys(("embedding", "embedding_bag"), lookup),
    "weight_norm": weight_norm,
    "scaled_dot_product_attention": attention,
}
"""By name, without the underscores around it."""
