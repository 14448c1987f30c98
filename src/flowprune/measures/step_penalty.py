"""The price of a long step, which keeps a cut within reach of the model that predicts its cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.core.groups import Groups
from flowprune.core.tensors import has_float64
from flowprune.core.units import Members


def require_step_penalty(where: str, step_penalty: object) -> float:
    """λ as a float, or an error.

    Raises:
        ValueError: it is no number, NaN, negative or infinite.

    Example:
        >>> require_step_penalty("score(step_penalty=)", 1)
        1.0
    """
    if isinstance(step_penalty, int | float) and not isinstance(step_penalty, bool) and 0.0 <= step_penalty < math.inf:
        return float(step_penalty)
    todo = "Its limit, the order of the norm, is measure='magnitude'."
    raise invalid(where, "a finite number >= 0", step_penalty, todo)


def penalised(
    scores: Mapping[str, Tensor],
    params: Mapping[str, Tensor],
    step_penalty: float,
    layout: Groups | None,
    *,
    read: Iterable[str],
    on: Literal["weight", "norm"] = "weight",
    members: Members = "producers",
) -> dict[str, Tensor]:
    """Scores s + (λ/2) Σ θ², the sum over those weights of a unit that s is made of; λ = 0 gives s itself.

    Cutting a unit is the step δ = -θ on its weights, and (λ/2) ‖δ‖² its price: λ → ∞ ranks by the norm alone.

    The sum is made in float64, on devices that have it, and so are the scores: in float32 a large λ would absorb s, and
    units of like norm would be ranked by rounding. The square of a float32 number is exact in float64.

    Shapes: as the scores. Units: λ in those of the score per squared weight.

    Args:
        scores: By group or parameter name.
        params: θ by name.
        step_penalty: λ >= 0.
        layout: Groups of units; None for single weights.
        read: The parameters that the scores are made of.
        on: As the scores were reduced.
        members: As the scores were reduced.

    Raises:
        PruningError: a unit has no weights.

    Source: Laurent et al. 2020, arXiv 2006.12279, for single weights.

    Example:
        >>> import torch
        >>> penalised({"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}, 2.0, None, read=["w"])["w"]
        tensor([10.], dtype=torch.float64)
    """
    if step_penalty == 0.0:
        return dict(scores)
    squares = {name: _wide(params[name]).square() for name in read}
    result: dict[str, Tensor] = {}
    for name, score in scores.items():
        steps = squares[name] if layout is None else layout[name].total(squares, on, members)
        if steps is None:
            raise PruningError(
                f"score(step_penalty=) must find weights in every unit, whose squares it adds; {name!r} has none. "
                f"Leave the layer out, skip=({name!r},) of the granularity, or the penalty."
            )
        result[name] = _wide(score) + 0.5 * step_penalty * steps.to(score.device)
    return result


def _wide(tensor: Tensor) -> Tensor:
    """In float64 where its device has that."""
    return tensor.double() if has_float64(tensor.device) else tensor.float()
