"""The table of rules: what each operation does to channels. An operation that is not in it is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger
from flowprune.structure.rules import attention, contraction, elementwise, join, lookup, norm, pooling, shape
from flowprune.structure.value import Value

Rule: TypeAlias = Callable[[Ledger, Call], Value | list[Value]]


class Row(NamedTuple):
    """A rule, and the arguments that it takes as tensors of the model rather than as data."""

    rule: Rule
    leaves: tuple[str, ...] = ()


WEIGHT = ("weight", "bias")
STATISTICS = (*WEIGHT, "running_mean", "running_var")
PAIR = ("self", "other")
MATRIX = ("self", "other", "mat1", "mat2")

KEEP_ZERO = [
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "hardswish",
    "hardshrink",
    "softshrink",
    "tanhshrink",
    "tanh",
    "sinh",
    "asinh",
    "atan",
    "asin",
    "erf",
    "sin",
    "tan",
    "sign",
    "abs",
    "neg",
    "square",
    "sqrt",
    "trunc",
    "round",
    "floor",
    "ceil",
    "expm1",
    "log1p",
    "nan_to_num",
    "softsign",
    "rrelu",
    "dropout",
    "feature_dropout",
    "zeros_like",
]
BREAK_ZERO = [
    "sigmoid",
    "exp",
    "cos",
    "cosh",
    "softplus",
    "log_sigmoid",
    "hardsigmoid",
    "alpha_dropout",
    "feature_alpha_dropout",
    "ones_like",
]
UNTOUCHED = [
    "contiguous",
    "clone",
    "detach",
    "alias",
    "to",
    "_to_copy",
    "type_as",
    "float",
    "double",
    "half",
    "lift_fresh",
    "lift_fresh_copy",
]
RESHAPE = [
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "_unsafe_view",
    "view_as",
    "reshape_as",
    "_reshape_alias",
    "ravel",
]
INVERSE = ["rsqrt", "reciprocal", "log", "log2", "log10"]
COMPARED = ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "__and", "__or", "isnan"]
EXTREME = ["max", "min", "amax", "amin", "var", "std", "var_mean", "std_mean", "median", "prod", "argmax", "argmin"]
OVER_LAST = {
    1: "max_pool1d avg_pool1d adaptive_avg_pool1d upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d",
    2: "max_pool2d avg_pool2d adaptive_avg_pool2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    3: "max_pool3d avg_pool3d adaptive_avg_pool3d upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d",
}


def rules() -> Mapping[str, Row]:
    """Rows by operation. Overloads and in-place forms share a row."""
    table: dict[str, Row] = {}
    for names, row in _families():
        table.update((f"aten.{name}", row) for name in names)
    for count, names in OVER_LAST.items():
        table.update((f"aten.{name}", Row(pooling.over_last(count))) for name in names.split())
    return table


def _families() -> list[tuple[list[str], Row]]:
    return [
        (["conv1d", "conv2d", "conv3d", "convolution"], Row(contraction.convolution, WEIGHT)),
        (["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], Row(contraction.transposed_convolution, WEIGHT)),
        (["linear"], Row(contraction.linear, WEIGHT)),
        (["matmul", "mm", "bmm", "addmm"], Row(contraction.matrix_product, MATRIX)),
        (["einsum"], Row(attention.einsum, ("tensors",))),
        (["scaled_dot_product_attention"], Row(attention.attention)),
        (["embedding"], Row(lookup.embedding, ("weight",))),
        (["index"], Row(lookup.index)),
        (["index_select"], Row(lookup.index_select)),
        (["batch_norm", "instance_norm"], Row(norm.channel_norm, STATISTICS)),
        (["layer_norm", "rms_norm"], Row(norm.layer_norm, WEIGHT)),
        (["group_norm"], Row(norm.group_norm, WEIGHT)),
        (KEEP_ZERO, Row(elementwise.keeps_zero)),
        (BREAK_ZERO, Row(elementwise.breaks_zero)),
        (["clamp", "clamp_min", "clamp_max", "hardtanh"], Row(elementwise.bounded)),
        (["threshold"], Row(elementwise.threshold)),
        (["pow"], Row(elementwise.power)),
        (INVERSE, Row(elementwise.inverse)),
        (["maximum", "minimum"], Row(elementwise.extreme_of_two)),
        (COMPARED, Row(elementwise.compared)),
        (["where", "masked_fill"], Row(elementwise.chosen)),
        (["prelu"], Row(elementwise.prelu, ("weight",))),
        (["add", "sub", "rsub"], Row(elementwise.addition, PAIR)),
        (["mul"], Row(elementwise.product, PAIR)),
        (["div"], Row(elementwise.quotient, PAIR)),
        (["mean"], Row(pooling.mean)),
        (["sum"], Row(pooling.total)),
        (EXTREME, Row(pooling.extreme)),
        (["softmax", "log_softmax", "_softmax", "_log_softmax"], Row(pooling.softmax)),
        (UNTOUCHED, Row(shape.same, ("self",))),
        (["permute", "transpose", "t", "numpy_T", "swapaxes"], Row(shape.permute, ("self",))),
        (RESHAPE, Row(shape.reshape)),
        (["expand", "expand_as"], Row(shape.expand)),
        (["flip", "roll"], Row(shape.flip)),
        (["pixel_shuffle"], Row(shape.pixel_shuffle)),
        (["pixel_unshuffle"], Row(shape.pixel_unshuffle)),
        (["repeat"], Row(shape.repeat)),
        (["repeat_interleave"], Row(shape.repeat_interleave)),
        (["cat", "concat", "concatenate"], Row(join.concatenate)),
        (["stack"], Row(join.stack)),
        (["chunk", "split", "split_with_sizes", "tensor_split"], Row(join.chunk)),
        (["glu"], Row(join.gated)),
        (["channel_shuffle"], Row(join.channel_shuffle)),
        (["unbind"], Row(join.unbind)),
        (["select"], Row(join.select)),
        (["slice", "narrow"], Row(join.cut_out)),
        (["pad", "constant_pad_nd"], Row(join.pad)),
    ]
