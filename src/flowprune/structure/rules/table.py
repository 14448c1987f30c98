"""The table of rules: what each operation does to channels. An operation that is not in it is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from flowprune.structure.call import Call
from flowprune.structure.ledger import Ledger
from flowprune.structure.rules import attention, contraction, elementwise, join, lookup, norm, ordering, pooling, shape
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
    "absolute",
    "negative",
    "positive",
    "sgn",
    "frac",
    "fix",
    "arcsin",
    "arctan",
    "arcsinh",
    "atanh",
    "arctanh",
    "erfinv",
    "deg2rad",
    "rad2deg",
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
    "sinc",
    "exp2",
    "erfc",
    "acos",
    "arccos",
]
NEW = ["new_zeros", "new_ones", "new_full", "new_empty"]
FILLED_LIKE = ["full_like", "rand_like", "randn_like", "randint_like", "empty_like"]
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
    "cpu",
    "type",
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
TRANSPOSED = ["permute", "transpose", "t", "numpy_T", "mT", "adjoint", "swapaxes", "swapdims", "movedim", "moveaxis"]
INVERSE = ["rsqrt", "reciprocal", "log", "log2", "log10"]
COMPARED = ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "__and", "__or", "isnan"]
EXTREME = ["max", "min", "amax", "amin", "var", "std", "var_mean", "std_mean", "median", "prod", "argmax", "argmin"]
RESIZED = {
    1: "upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d",
    2: "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    3: "upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d",
}
POOLED = ["max_pool{}d", "max_pool{}d_with_indices", "avg_pool{}d", "adaptive_avg_pool{}d", "adaptive_max_pool{}d"]
JOINED = ["cat", "concat", "concatenate", "hstack", "column_stack", "vstack", "row_stack", "dstack"]


def rules() -> Mapping[str, Row]:
    """Rows by operation. Overloads and in-place forms share a row."""
    table: dict[str, Row] = {}
    for names, row in (*_computing(), *_moving()):
        table.update((f"aten.{name}", row) for name in names)
    for count, names in RESIZED.items():
        over = [*names.split(), *(name.format(count) for name in POOLED)]
        table.update((f"aten.{name}", Row(pooling.over_last(count))) for name in over)
    return table


def _computing() -> list[tuple[list[str], Row]]:
    """Operations that compute with entries."""
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
        (FILLED_LIKE, Row(elementwise.filled_like)),
        (["clamp", "clip", "clamp_min", "clamp_max", "hardtanh"], Row(elementwise.bounded)),
        (["threshold"], Row(elementwise.threshold)),
        (["pow"], Row(elementwise.power)),
        (INVERSE, Row(elementwise.inverse)),
        (["maximum", "minimum", "fmax", "fmin", "hypot"], Row(elementwise.extreme_of_two)),
        (["copy"], Row(elementwise.copied)),
        (["lerp"], Row(elementwise.interpolated)),
        (["addcmul"], Row(elementwise.added_product)),
        (["baddbmm"], Row(contraction.added_product)),
        (COMPARED, Row(elementwise.compared)),
        (["where", "masked_fill"], Row(elementwise.chosen)),
        (["prelu"], Row(elementwise.prelu, ("weight",))),
        (["add", "sub", "subtract", "rsub"], Row(elementwise.addition, PAIR)),
        (["mul", "multiply"], Row(elementwise.product, PAIR)),
        (["div", "divide", "true_divide"], Row(elementwise.quotient, PAIR)),
        (["mean"], Row(pooling.mean)),
        (["sum"], Row(pooling.total)),
        (["linalg_vector_norm", "norm"], Row(pooling.vector_norm)),
        (["logsumexp"], Row(pooling.log_sum_exp)),
        (["cosine_similarity"], Row(pooling.cosine_similarity)),
        (["grid_sampler"], Row(pooling.sampled)),
        (["max_unpool2d", "max_unpool3d"], Row(pooling.unpooled)),
        (EXTREME, Row(pooling.extreme)),
        (["softmax", "log_softmax", "_softmax", "_log_softmax"], Row(pooling.softmax)),
    ]


def _moving() -> list[tuple[list[str], Row]]:
    """Operations that change no entry: they move, repeat, join or drop it."""
    return [
        (UNTOUCHED, Row(shape.same, ("self",))),
        (TRANSPOSED, Row(shape.permute, ("self",))),
        (RESHAPE, Row(shape.reshape)),
        (["expand", "expand_as"], Row(shape.expand)),
        (NEW, Row(shape.new)),
        (["flip", "roll", "rot90"], Row(ordering.turned)),
        (["sort", "topk", "cummax", "cummin", "cumsum", "cumprod"], Row(ordering.ordered)),
        (["triu", "tril"], Row(ordering.triangle)),
        (["unfold"], Row(ordering.windows)),
        (["diagonal"], Row(ordering.diagonal)),
        (["im2col"], Row(shape.image_to_columns)),
        (["col2im"], Row(shape.columns_to_image)),
        (["pixel_shuffle"], Row(shape.pixel_shuffle)),
        (["pixel_unshuffle"], Row(shape.pixel_unshuffle)),
        (["repeat", "tile"], Row(shape.repeat)),
        (["repeat_interleave"], Row(shape.repeat_interleave)),
        (JOINED, Row(join.concatenate)),
        (["stack"], Row(join.stack)),
        (["chunk", "unsafe_chunk", "split", "unsafe_split", "split_with_sizes", "tensor_split"], Row(join.chunk)),
        (["glu"], Row(join.gated)),
        (["channel_shuffle"], Row(join.channel_shuffle)),
        (["unbind"], Row(join.unbind)),
        (["select"], Row(join.select)),
        (["slice", "narrow"], Row(join.cut_out)),
        (["pad", "constant_pad_nd"], Row(join.pad)),
    ]
