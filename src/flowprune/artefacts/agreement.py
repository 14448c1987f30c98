"""Whether what was exported computes what the model computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.structure.verify import difference

TOLERANCE = 1e-4
"""Largest difference, as a fraction of the largest output."""


def require_same(expected: Sequence[Tensor], found: Sequence[Tensor], *, tolerance: float, what: str) -> float:
    """The largest difference of two lists of outputs, as a fraction of the largest value of the output it is in.

    Formula: max |a - b| / max(1e-3, max |a|), the greatest over outputs. NaN and infinities must stand in the same
    places, and are left out; whole numbers and truth values must be equal.

    Args:
        expected: Of the model.
        found: Of the artefact.
        tolerance: The most that is accepted.
        what: The function whose artefact this is, for the error.

    Raises:
        PruningError: they differ in number, shape or value, or there is no finite number in them to compare.

    Example:
        >>> import torch
        >>> require_same([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.5])], tolerance=0.5, what="f")
        0.25
    """
    if len(expected) != len(found):
        raise _different(what, f"it gives {len(found)} tensors, the model {len(expected)}")
    worst, compared = 0.0, 0
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape:
            raise _different(what, f"output {number} has shape {tuple(b.shape)}, the model's {tuple(a.shape)}")
        found_here = difference(a.detach().cpu(), b.detach().cpu())
        if found_here.special is not None:
            raise _different(what, f"output {number}: {found_here.special}")
        if not found_here.part <= tolerance:
            how = f"is {found_here.part:.3g} of its largest value off; {tolerance:g} is allowed"
            raise _different(what, f"output {number} {how}")
        worst, compared = max(worst, found_here.part), compared + found_here.compared
    if not compared:
        raise PruningError(
            f"{what} must give some finite numbers on the example inputs, to show that the artefact gives the same; it "
            "gives none. Nothing was written. Pass example_inputs for which it does."
        )
    return worst


def _different(what: str, how: str) -> PruningError:
    return PruningError(
        f"{what} must give what the model gives; {how}. Nothing was written. Export it with other example_inputs, "
        "raise tolerance= if the difference is one of precision, and please report the model."
    )
