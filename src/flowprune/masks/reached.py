"""Units that have a rank: a measure that looks only so far says so beside its scores, never by a special score."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowprune.core.errors import PruningError
from flowprune.core.groups import Groups
from flowprune.core.units import Members
from flowprune.masks.reduce import reduce


def reached_units(
    reached: Mapping[str, Tensor] | None, layout: Groups | None, *, members: Members = "producers"
) -> dict[str, Tensor] | None:
    """Which units hold a weight that was reached; None where a measure reaches all.

    Shapes: with a layout, boolean ``group.shape`` for each group; without, as ``reached``.

    Args:
        reached: Boolean, by parameter name.
        layout: Groups of units; None for weight granularity.
        members: As in :func:`flowprune.masks.reduce`.

    Example:
        >>> from flowprune.core.units import rows
        >>> reached_units({"w": torch.tensor([[True, False], [False, False]])}, {"w": rows("w", 2)})["w"]
        tensor([ True, False])
    """
    if reached is None or layout is None:
        return None if reached is None else dict(reached)
    counts = reduce({name: mask.float() for name, mask in reached.items()}, layout, "sum", members=members)
    return {name: count > 0 for name, count in counts.items()}


def require_reached(where: str, masks: Mapping[str, Tensor], reached: Mapping[str, Tensor] | None) -> None:
    """Raise where a mask keeps a unit that has no rank.

    Raises:
        PruningError: it keeps some; it names the layer.

    Example:
        >>> require_reached("select", {"w": torch.tensor([True])}, {"w": torch.tensor([False])})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        flowprune.core.errors.PruningError: select(scores=) must rank every unit that is kept; 1 of the 1 kept were ...
    """
    if reached is None:
        return
    lost = {name: int(torch.count_nonzero(mask & ~reached[name])) for name, mask in masks.items()}
    if any(lost.values()):
        kept = sum(int(torch.count_nonzero(mask)) for mask in masks.values())
        name = next(name for name, count in lost.items() if count)
        raise PruningError(
            f"{where}(scores=) must rank every unit that is kept; {sum(lost.values())} of the {kept} kept were not "
            f"reached, the first in {name!r}. Prune more, or let the measure look further: of phew, "
            "options={'density': 0.95}, or density=0.95 of score()."
        )
