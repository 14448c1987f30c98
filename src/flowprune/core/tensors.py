"""Sums over dictionaries of tensors that stay right for a hundred million entries.

``Tensor.norm()`` in float32 is 1 % low at 10^8 entries on a CPU (pytorch/pytorch#68326): it adds in one
running float32 accumulator. Here every product and sum is of float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from flowprune.core.errors import invalid

BLOCK = 1 << 20
PIECE = 1 << 16
"""Values that fit the cache, where each is read or written more than once."""
Named = Mapping[str, Tensor]


def for_numpy(tensor: Tensor) -> bool:
    """Whether numpy reads and writes a tensor where it lies, which several operations take less time for.

    Example:
        >>> for_numpy(torch.ones(2)), for_numpy(torch.ones(2, dtype=torch.bfloat16))
        (True, False)
    """
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def has_float64(device: torch.device) -> bool:
    """Whether tensors of float64 can be there; Apple's processors have none.

    Example:
        >>> has_float64(torch.device("cpu")), has_float64(torch.device("mps"))
        (True, False)
    """
    return device.type != "mps"


def wide(tensor: Tensor) -> Tensor:
    """Its values in float64: on its own device, or on the CPU where that has no float64.

    Example:
        >>> wide(torch.tensor([0.5])).dtype
        torch.float64
    """
    held = tensor.detach()
    return held.double() if has_float64(held.device) else held.cpu().double()


def _dot(a: Tensor, b: Tensor) -> float:
    """Sum of ``a * b`` in float64, a million entries at a time: twice as fast as converting them all."""
    x, y = a.detach().reshape(-1), b.detach().reshape(-1)
    parts: list[Tensor] = []
    for start in range(0, x.numel(), BLOCK):
        left = wide(x[start : start + BLOCK])
        right = left if a is b else wide(y[start : start + BLOCK])
        parts.append(torch.dot(left, right if right.device == left.device else right.to(left.device)))
    return float(torch.stack(parts).sum()) if parts else 0.0


def dot(a: Named, b: Named) -> float:
    """The inner product of two dictionaries of tensors with the same names, accurate to about 1e-12.

    Shapes: ``a[name]`` and ``b[name]`` have the same shape.

    Raises:
        ValueError: the names differ.

    Example:
        >>> dot({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])})
        11.0
    """
    if a.keys() != b.keys():
        raise invalid("dot()", "of two dictionaries with the same names", sorted(a.keys() ^ b.keys()))
    return sum(_dot(a[name], b[name]) for name in a)


def count_true(mask: Tensor) -> int:
    """How many entries of a boolean tensor are True; on a CPU in a quarter of the time that torch takes.

    Example:
        >>> count_true(torch.tensor([True, False, True]))
        2
    """
    return int(np.count_nonzero(mask.numpy()) if mask.device.type == "cpu" else torch.count_nonzero(mask))


def squared_norm(tensors: Named | Iterable[Tensor]) -> float:
    """The sum of squares over all tensors.

    Example:
        >>> squared_norm({"w": torch.tensor([3.0, 4.0])})
        25.0
    """
    values = tensors.values() if isinstance(tensors, Mapping) else tensors
    return sum(_dot(value, value) for value in values)


def require_finite(where: str, tensors: Named) -> None:
    """Raise where a tensor holds NaN or an infinity, naming it.

    Raises:
        ValueError: ``where`` and the name of the first tensor that is not finite, or that has no values.
    """
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise invalid(where, "of values", f"{name!r} on the meta device", "Load the weights first.")
        # A finite sum has finite terms, and takes a tenth of the time; a sum may overflow, so then each is looked at.
        if not (bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())):
            count = int((~torch.isfinite(tensor)).sum())
            raise invalid(
                where,
                "finite everywhere",
                f"{count} of {tensor.numel()} entries of {name!r} NaN or infinite",
                "Look at the loss and the learning rate, and score in float32 or float64.",
            )
