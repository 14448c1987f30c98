"""Operations by element: what they pass where something arrives."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from flowprune.signals.presence.call import Call, Rule, addend, factor, gate, is_weight
from flowprune.signals.presence.present import flows


def same(call: Call) -> Any:
    """A function that is zero at zero, such as a ReLU; dropout, and a detour through another type, pass all."""
    return call.input


def opened(call: Call) -> Any:
    """A function that is not zero at zero, such as a sigmoid; see :data:`OPENED`."""
    return call.input.clone()


def add(call: Call) -> Any:
    """A sum: a path of either term."""
    return addend(call.input) + addend(call.get(1, "other"))


def subtract(call: Call) -> Any:
    """A difference: as a sum, but what is spread over the first term, such as its mean, is a statistic of it."""
    first, second = call.input, call.get(1, "other")
    spread = flows(first) and flows(second) and second.numel() < first.numel()
    return addend(first) + addend(second.detach() if spread else second)


def multiply(call: Call) -> Any:
    """A product: a path of either factor, where the other is not zero."""
    first, second = call.input, call.get(1, "other")
    read = factor if is_weight(first) or is_weight(second) else gate
    return read(first) * read(second)


def divide(call: Call) -> Any:
    """A ratio: paths of the numerator; those of the denominator where the numerator is constant."""
    above, below = call.input, call.get(1, "other")
    if not flows(above):
        return addend(above) + below
    return above + addend(below.detach()) if isinstance(below, Tensor) else above


def power(call: Call) -> Any:
    """Paths of the base, or of the exponent of a constant; a number below zero makes a scale of the base."""
    base, exponent = call.input, call.get(1, "exponent")
    if isinstance(exponent, (int, float)) and exponent < 0:
        return torch.ones_like(base.detach())
    return base if flows(base) else addend(base) + exponent


def statistic(call: Call) -> Any:
    """A norm or a deviation: it scales what it is of, all of it alike, and is no path."""

    def ones(item: Any) -> Any:
        return torch.ones_like(item) if isinstance(item, Tensor) else item

    with torch.no_grad():
        return tree_map(ones, call.func(*call.args, **call.kwargs))


def choose(call: Call) -> Any:
    """``where``: what is chosen; a constant in its place is nothing."""
    method = call.input.dtype != torch.bool  # x.where(condition, other)
    condition = call.get(1, "condition") if method else call.input
    first = call.input if method else call.get(1, "input")
    first, second = (addend(x) if isinstance(x, Tensor) else 0.0 for x in (first, call.get(2, "other")))
    return torch.where(condition, first, second)


def masked_fill(call: Call) -> Any:
    """Nothing where it is filled."""
    return call.input.masked_fill(call.get(1, "mask"), 0.0)


def greatest(call: Call) -> Any:
    """A maximum over axes: a path of each of what it may be; of two tensors, of either."""
    axis = call.get(1, "dim", call.get(1, "other"))
    if isinstance(axis, Tensor):
        return addend(call.input) + addend(axis)
    keep = bool(call.get(2, "keepdim", False))
    total = call.input.sum() if axis is None else call.input.sum(axis, keepdim=keep)
    if call.name.startswith("a") or axis is None:
        return total
    found = call.func(*call.args, **call.kwargs)
    return type(found)((total, found[1]))


def log_sum_exp(call: Call) -> Any:
    """A path of each term."""
    return call.input.sum(call.get(1, "dim"), keepdim=bool(call.get(2, "keepdim", False)))


def gated(call: Call) -> Any:
    """``glu``: one half, where the sigmoid of the other half, which is never zero, lets it through."""
    first, second = call.input.chunk(2, call.get(1, "dim", -1))
    return first * (1.0 + second)


def interpolated(call: Call) -> Any:
    """``lerp``: a path of both ends."""
    return addend(call.input) + addend(call.get(1, "end"))


SAME: Final = """
    relu relu6 leaky_relu elu celu selu gelu silu mish tanh hardtanh hardswish rrelu prelu threshold softsign softshrink
    hardshrink tanhshrink erf sin asin atan sinh expm1 log1p abs absolute neg negative positive square sqrt sign
    clamp clip clamp_min clamp_max nan_to_num round floor ceil normalize detach
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout native_dropout
    to type type_as float double half bfloat16 local_response_norm
"""
OPENED: Final = frozenset(
    [
        "sigmoid",
        "hardsigmoid",
        "softplus",
        "exp",
        "exp2",
        "cos",
        "cosh",
        "acos",
        "log",
        "log2",
        "log10",
        "softmax",
        "log_softmax",
        "softmin",
        "logsigmoid",
        "log_sigmoid",
        "logit",
        "reciprocal",
        "rdiv",
        "rtruediv",
        "rpow",
        "logsumexp",
    ]
)
"""Not zero at zero: what they multiply goes through even where nothing arrives at them."""
MULTIPLY: Final = frozenset(["mul", "multiply", "rmul", "imul"])
STATISTICS: Final = "var std var_mean std_mean norm vector_norm linalg_norm linalg_vector_norm rsqrt"
SUMS: Final = frozenset(["add", "radd", "iadd", "sub", "subtract", "rsub", "isub"])
"""With a number, they are not zero at zero either."""
ELEMENTWISE: Final[dict[str, Rule]] = {
    **dict.fromkeys(SAME.split(), same),
    **dict.fromkeys(OPENED, opened),
    **dict.fromkeys(["add", "radd", "iadd", "maximum", "minimum", "fmax", "fmin", "logaddexp"], add),
    **dict.fromkeys(["sub", "subtract", "rsub", "isub"], subtract),
    **dict.fromkeys(MULTIPLY, multiply),
    **dict.fromkeys(["div", "divide", "true_divide", "truediv", "itruediv", "floor_divide"], divide),
    **dict.fromkeys(["pow", "float_power"], power),
    **dict.fromkeys(STATISTICS.split(), statistic),
    **dict.fromkeys(["amax", "amin", "max", "min"], greatest),
    "logsumexp": log_sum_exp,
    "where": choose,
    "masked_fill": masked_fill,
    "glu": gated,
    "lerp": interpolated,
}
"""By name, without the underscores around it."""
