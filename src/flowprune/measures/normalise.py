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
from flowprune.core.groups import Groups
from flowprune.core.units import Members

Scale = Callable[[Tensor, Tensor], Tensor]
"""``scale(scores, fan_in)`` of one layer, both of one shape."""


def _by_mean(scores: Tensor, fan_in: Tensor) -> Tensor:
    del fan_in
    mean = scores.abs().mean()
    return scores / mean if float(mean) > 0 else scores


NORMALISERS: Final[Mapping[str, Scale]] = {
    "none": lambda scores, fan_in: scores,
    "mean": _by_mean,
    "fan_in": lambda scores, fan_in: scores / fan_in.sqrt(),
}
"""none: as they are. mean: over the mean absolute score of the layer. fan_in: over √(weights read of the unit); for a
unit of one weight, of its output."""


def normalised(
    scores: Mapping[str, Tensor],
    how: str,
    params: Mapping[str, Tensor],
    layout: Groups | None,
    *,
    members: Members = "producers",
) -> dict[str, Tensor]:
    """The scores of each layer, rescaled.

    Shapes: as the scores.

    Args:
        scores: By group or parameter name.
        how: A name of :data:`NORMALISERS`.
        params: Of which the fan-in is counted.
        layout: Groups of units; None for single weights, whose fan-in is that of the output they belong to.
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
    if layout is None:
        fans = {name: torch.full_like(score, score[0].numel() if score.dim() else 1) for name, score in scores.items()}
    else:
        fans = {name: group.fan_in(params, members) for name, group in layout.items()}
    return {name: NORMALISERS[how](score, fans[name].to(score.device)) for name, score in scores.items()}
