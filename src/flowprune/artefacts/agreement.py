"""Whether what was exported computes what the model computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowprune.core.errors import PruningError

TOLERANCE = 1e-4
"""Largest difference, as a fraction of the largest output."""


def require_same(expected: Sequence[Tensor], found: Sequence[Tensor], *, tolerance: float, what: str) -> float:
    """The largest difference of two lists of outputs, as a fraction of the largest value of the output it is in.

    Formula: max |a - b| / max(1e-3, max |a|), the greatest over outputs. NaN and infinities must stand in the same
    places, and are left out.

    Args:
        expected: Of the model.
        found: Of the artefact.
        tolerance: The most that is accepted.
        what: The function whose artefact this is, for the error.

    Raises:
        PruningError: they differ in number, shape or value.

    Example:
        >>> require_same([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.5])], tolerance=0.5, what="f")
        0.25
    """
    if len(expected) != len(found):
        raise _different(what, f"it gives {len(found)} tensors, the model {len(expected)}")
    worst = 0.0
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape:
            raise _different(what, f"output {number} has shape {tuple(b.shape)}, the model's {tuple(a.shape)}")
        apart = _apart(a.detach().cpu().double(), b.detach().cpu().double())
        if not apart <= tolerance:
            raise _different(what, f"output {number} is {apart:.3g} of its largest value off; {tolerance:g} is allowed")
        worst = max(worst, apart)
    return worst


def _apart(a: Tensor, b: Tensor) -> float:
    special = ~torch.isfinite(a)
    if not torch.equal(special, ~torch.isfinite(b)) or not torch.equal(
        a[special].nan_to_num(), b[special].nan_to_num()
    ):
        return float("inf")
    a, b = a[~special], b[~special]
    return float((a - b).abs().max()) / max(1e-3, float(a.abs().max())) if a.numel() else 0.0


def _different(what: str, how: str) -> PruningError:
    return PruningError(
        f"{what} must give what the model gives; {how}. Nothing was written. Export it with other example_inputs, "
        "raise tolerance= if the difference is one of precision, and please report the model."
    )
