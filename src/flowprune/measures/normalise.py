"""Making scores of different layers comparable: as they are, over their layer's mean, or over the root of the fan-in.

The founding paper ranks raw scores over all layers. At PyTorch's default initialization a filter's norm is near 1/√3
whatever its fan-in, and only its spread shrinks with it, so layers of small fan-in supply both ends of the ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from flowprune.core.errors import unknown
from flowprune.core.groups import Group, Groups
from flowprune.core.units import Members, UnitGroup

Scale = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``scale(scores, fan_in, live)`` of one layer, all of one shape."""


def _by_mean(scores: Tensor, fan_in: Tensor, live: Tensor) -> Tensor:
    del fan_in
    mean = scores[live].abs().mean()
    return scores / mean if float(mean) > 0 else scores  # NaN, the mean of nothing, is not above 0


NORMALISERS: Final[Mapping[str, Scale]] = {
    "none": lambda scores, fan_in, live: scores,
    "mean": _by_mean,
    "fan_in": lambda scores, fan_in, live: scores / fan_in.clamp_min(1).sqrt(),
}
"""none: as they are. mean: over the mean absolute score of the layer's live units. fan_in: over √(live weights read of
the unit), those that read a dead channel not counted; for a unit of one weight, those of its output."""


def normalised(
    scores: Mapping[str, Tensor],
    how: str,
    params: Mapping[str, Tensor],
    layout: Groups | None,
    masks: Mapping[str, Tensor] | None = None,
    *,
    members: Members = "producers",
) -> dict[str, Tensor]:
    """The scores of each layer, rescaled by what lives in it: the same whether units are held at zero or removed.

    Shapes: as the scores.

    Args:
        scores: By group or parameter name.
        how: A name of :data:`NORMALISERS`.
        params: Of which the fan-in is counted.
        layout: Groups of units; None for single weights, whose fan-in is that of the output they belong to.
        masks: What is held at zero, by parameter name: boolean, True = kept; parameters left out live whole.
        members: As the scores were reduced: ``"producers"`` or ``"group"``.

    The fan-in counts the weights that the score was made of: with ``members="group"`` those that read the unit too.

    Raises:
        UnknownNameError: another name.

    Example:
        >>> scores, params = {"w": torch.tensor([[1.0, 3.0]])}, {"w": torch.ones(1, 2)}
        >>> normalised(scores, "mean", params, None)["w"]
        tensor([[0.5000, 1.5000]])
        >>> normalised({"w": torch.tensor([[2.0] * 4])}, "fan_in", {"w": torch.ones(1, 4)}, None)["w"]
        tensor([[1., 1., 1., 1.]])
    """
    if how not in NORMALISERS:
        raise unknown("score(normalise=)", how, NORMALISERS)
    if how == "none":
        return dict(scores)
    ones = {name: torch.ones_like(value, dtype=torch.float32) for name, value in params.items()}  # half stops at 2048
    kept = {name: one * masks[name] if masks and name in masks else one for name, one in ones.items()}
    if layout is None:
        fans = {name: _of_rows(kept[name]) for name in scores}
        live = {name: kept[name] > 0 for name in scores}
    else:
        live = {name: _counted(group, kept) > 0 for name, group in layout.items()}
        read = _without_dead_inputs(kept, layout, live)
        fans = {
            name: _counted(group, read, members) if isinstance(group, UnitGroup) else group.fan_in(params, members)
            for name, group in layout.items()
        }
    scale = NORMALISERS[how]
    return {n: scale(score, fans[n].to(score), live[n].to(score.device)) for n, score in scores.items()}


def _of_rows(kept: Tensor) -> Tensor:
    """How many weights of an output live, for each of its weights; 1 for those that are by themselves."""
    return kept if kept.dim() < 2 else kept.sum(list(range(1, kept.dim())), keepdim=True).expand(kept.shape)


def _without_dead_inputs(
    kept: Mapping[str, Tensor], layout: Groups, live: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """With zeros, besides, where a weight reads a channel that is dead."""
    if all(bool(units.all()) for units in live.values()):
        return kept
    counted = {name: value.clone() for name, value in kept.items()}
    for name, group in layout.items():
        for member in group.members if isinstance(group, UnitGroup) else ():
            if member.role == "input" and member.name in counted:
                dead = ~live[name].cpu()[member.units.cpu()]
                value = counted[member.name]
                value.index_fill_(member.axis, member.positions.cpu()[dead].to(value.device), 0)
    return counted


def _counted(group: Group, kept: Mapping[str, Tensor], members: Members = "producers") -> Tensor:
    """How many weights of each unit are left."""
    counted = group.total(kept, "weight", members)
    return torch.ones(group.shape) if counted is None else counted
