"""Verified pruning: what is asserted after every cut, each with the line that mends it.

Together they cost less than one evaluation batch: the two forward passes run on a few probe examples.
"""

from __future__ import annotations

from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.prune.solution import Solution
from flowprune.structure import Cost
from flowprune.structure.example import Example

PROBE = 4
"""Examples of the probe batch at most."""


def probe_of(inputs: object) -> Example | None:
    """The first few examples of some inputs; tensors that all examples share, such as positions, are whole."""
    return None if inputs is None else Example.of(inputs).first(PROBE).map(Tensor.detach)


def check_sparsity(removed: int, asked: int, total: int) -> str:
    """Exactly as many units are gone as were asked for.

    Raises:
        PruningError: with both numbers.
    """
    if removed != asked:
        raise PruningError(
            f"The achieved sparsity must be the asked one to the unit; {asked} of {total} units asked, {removed} gone."
        )
    return "exact sparsity"


def check_budget(solution: Solution | None, cost: Cost) -> tuple[str, ...]:
    """What a budget was said to leave is what is left; milliseconds are noise, and units are counted otherwise.

    Raises:
        PruningError: with both numbers.
    """
    if solution is None:
        return ()
    left = {"parameters": cost.parameters, "bytes": cost.bytes, "flops": cost.multiply_adds}.get(solution.budget.unit)
    if left is None:
        return ()
    if left != solution.achieved:
        raise PruningError(
            f"The model must be left with what the budget was solved to; {solution.achieved:,.0f} were foreseen, "
            f"{left:,} are left. Please report the model."
        )
    return ("budget",)
