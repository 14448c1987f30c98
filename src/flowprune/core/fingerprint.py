"""A short hash of a model's parameter names and shapes: which model a mask or a plan belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor


def fingerprint(params: Mapping[str, Tensor]) -> str:
    """Twelve hexadecimal digits of SHA-256 over names and shapes, in any order.

    Two models of the same architecture have the same fingerprint whatever their weights.

    Example:
        >>> import torch
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.ones(2)})
        True
    """
    return fingerprint_of({name: tuple(value.shape) for name, value in params.items()})


def fingerprint_of(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The fingerprint of tensors of these shapes."""
    lines = sorted(f"{name}:{shape}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
