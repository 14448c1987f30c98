"""From signed per-weight contributions to one number per unit.

The reducer is part of a measure: |Σ θg| lets the weights of a filter cancel, Σ |θg| does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from flowprune.core.errors import PruningError, unknown
from flowprune.core.groups import Group, Groups
from flowprune.core.units import MEMBERS, Members, Role

Reducer = Literal["sum", "sum_abs", "abs_sum", "l2"]

# Reducer -> (what is added up, what is done with the total).
REDUCERS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "sum": (lambda c: c, lambda total: total),
    "sum_abs": (torch.abs, lambda total: total),
    "abs_sum": (lambda c: c, torch.abs),
    "l2": (torch.square, torch.sqrt),
}


def reduce(
    contributions: Mapping[str, Tensor],
    layout: Groups | None,
    reducer: str,
    *,
    on: Literal["weight", "norm"] = "weight",
    members: Members = "producers",
) -> dict[str, Tensor]:
    """Reduce contributions to scores: per unit where a layout is given, else per weight.

    | reducer | per unit | one weight |
    |---|---|---|
    | sum | Σ c | c |
    | sum_abs | Σ abs(c) | abs(c) |
    | abs_sum | abs(Σ c) | abs(c) |
    | l2 | (Σ c²)^½ | abs(c) |

    Shapes: with a layout, ``result[group]`` is ``group.shape``; without, ``result[name]`` has the shape of
    ``contributions[name]``.

    Args:
        contributions: Signed contributions by parameter name.
        layout: Groups of units; None for weight granularity.
        reducer: One of ``REDUCERS``.
        on: Which scored members of a group are read: its producing weights or their norms.
        members: ``"producers"``: these alone; ``"group"``: with them every slice of a weight that reads the unit: of
            later layers, and of depthwise filters.

    Raises:
        UnknownNameError: the reducer or the word for members is not known.
        ValueError: readers of units that are patterns of weights.
        PruningError: a group has no scored member with a contribution.

    Example:
        >>> from flowprune.core.units import rows
        >>> c = {"w": torch.tensor([[1.0, -1.0], [2.0, 1.0]])}
        >>> reduce(c, {"w": rows("w", 2)}, "sum_abs")["w"], reduce(c, {"w": rows("w", 2)}, "abs_sum")["w"]
        (tensor([2., 3.]), tensor([0., 3.]))
    """
    if reducer not in REDUCERS:
        raise unknown("reduce(reducer=)", reducer, REDUCERS)
    if members not in MEMBERS:
        raise unknown("reduce(members=)", members, MEMBERS)
    if layout is not None:
        return {n: _reduce_group(contributions, group, reducer, on=on, members=members) for n, group in layout.items()}
    # |c| and not the root of its square, which is slower, is rounded twice, and underflows below 1e-23 in float32.
    return {name: value if reducer == "sum" else value.abs() for name, value in contributions.items()}


def _reduce_group(
    contributions: Mapping[str, Tensor], group: Group, reducer: str, *, on: Role, members: Members
) -> Tensor:
    inner, outer = REDUCERS[reducer]
    read = [name for name in group.read(on, members) if name in contributions]
    total = group.total({name: inner(contributions[name]) for name in read}, on, members)
    if total is None:
        raise PruningError(
            f"score() must find a {on} with a signal for every group; {group.name!r} has none. Use another measure, "
            f"or leave the layer out, skip=({group.name!r},) of the granularity; frozen parameters have no gradient."
        )
    return outer(total)
