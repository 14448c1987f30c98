"""FLOPs of a run: PyTorch's counter, and the formulas that it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry, shape_wrapper

from flowprune.core.unfused import unfused

Shape = Sequence[int]


def attention_flops(query: Shape, key: Shape, value: Shape, *args: object, **kwargs: object) -> int:
    """Two products of matrices for each head: queries (..., T, D) with keys (..., S, D), then values (..., S, E).

    A causal mask saves nothing here: the formula is that of the other kernels.

    Example:
        >>> attention_flops((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6))  # 2 * 2 heads * 3 * 5 * (4 + 6)
        600
    """
    del args, kwargs
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def recurrent_flops(x: Shape, *weights: Any, **kwargs: object) -> int:
    """One layer, one direction: every step multiplies the input and the state with their matrices.

    Args:
        x: (..., inputs): steps and examples.
        weights: (gates·hidden, inputs) and (gates·hidden, hidden), then what is not read.
        kwargs: Not read.

    Example:
        >>> recurrent_flops((5, 2, 3), (16, 3), (16, 4))  # 2 * 10 * (48 + 64)
        2240
    """
    del kwargs
    return 2 * math.prod(x[:-1]) * (math.prod(weights[0]) + math.prod(weights[1]))


def packed_recurrent_flops(x: Shape, weights: Sequence[Shape], *args: object, **kwargs: object) -> int:
    """All layers and directions at once: every step multiplies with every matrix.

    Example:
        >>> packed_recurrent_flops((5, 2, 3), [(16, 3), (16, 4), (16,), (16,)])
        2240
    """
    del args, kwargs
    return 2 * math.prod(x[:-1]) * sum(math.prod(weight) for weight in weights if len(weight) > 1)


def product_with_vector_flops(matrix: Shape, *args: object, **kwargs: object) -> int:
    """Mv: a matrix times a vector.

    Example:
        >>> product_with_vector_flops((3, 4), (4,))
        24
    """
    del args, kwargs
    return 2 * math.prod(matrix)


def added_product_with_vector_flops(addend: Shape, matrix: Shape, *args: object, **kwargs: object) -> int:
    """Addmv: the same, added to a vector.

    Example:
        >>> added_product_with_vector_flops((3,), (3, 4), (4,))
        24
    """
    del addend, args, kwargs
    return 2 * math.prod(matrix)


aten = torch.ops.aten
MISSING: Final[Mapping[Any, Callable[..., int]]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    aten.mkldnn_rnn_layer: recurrent_flops,
    aten._cudnn_rnn: packed_recurrent_flops,
    aten.mv: product_with_vector_flops,
    aten.addmv: added_product_with_vector_flops,
}
"""Formulas, of the shapes of the arguments, for operations that PyTorch's registry has none for."""


def formulas() -> dict[Any, Callable[..., int]]:
    """PyTorch's registry and :data:`MISSING`; each takes the tensors themselves."""
    return {**{packet: shape_wrapper(formula) for packet, formula in MISSING.items()}, **flop_registry}


@contextmanager
def counting() -> Generator[FlopCounterMode]:
    """Within the block FLOPs are counted, attention's too, on whatever kernel it runs.

    Example:
        >>> q = torch.ones(1, 2, 3, 4)
        >>> with counting() as counter:
        ...     out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
        >>> counter.get_total_flops()
        288
    """
    lacking = {packet: formula for packet, formula in MISSING.items() if packet not in flop_registry}
    with unfused(), FlopCounterMode(display=False, custom_mapping=lacking) as counter:
        yield counter
