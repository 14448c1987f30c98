"""Means of squared per-example gradients: the diagonal of the empirical Fisher matrix, and of the Gauss-Newton."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.batches import Counted, split
from flowprune.signals.gradient import finite_losses
from flowprune.signals.per_example import Contribution, PerExample, Pulled, Way, choose


class Squares(NamedTuple):
    """What a pass over the batches gives.

    Attributes:
        mean: By parameter, E over examples of the sum of squares; of half precision in float32.
        losses: Mean loss of each batch.
        sizes: Examples in each batch.
    """

    mean: dict[str, Tensor]
    losses: list[float]
    sizes: list[int]


def squares_pass(
    model: nn.Module,
    per_example: PerExample,
    batches: Iterable[Counted],
    params: Mapping[str, nn.Parameter],
    *,
    most: int | Callable[[Way, Counted], int],
    pulled: Pulled | None = None,
) -> Squares:
    r"""E[sum_v (J_i^T v)^2] over all examples i; by default v is the slope of the loss: E[g_i^2].

    It is never the square of a batch mean, which is smaller by about the batch size and not a multiple of it.

    Args:
        model: In eval mode.
        per_example: The loss of each example.
        batches: Read once.
        params: What is differentiated.
        most: Examples at a time; a number, or asked of each batch.
        pulled: The vectors that are pulled back from the outputs to the parameters.

    Raises:
        ValueError: the objective does not give one loss per example.
        PruningError: examples are coupled by a batch norm.
    """
    sums = {
        name: torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))
        for name, parameter in params.items()
    }
    way: Way | None = None
    losses: list[Tensor] = []
    sizes: list[int] = []

    def add(name: str, contribution: Contribution) -> None:
        sums[name] += contribution.squares().view_as(sums[name])

    for counted in batches:
        if way is None:
            way = choose(model, per_example, params, counted, pulled)
        at_once = most if isinstance(most, int) else most(way, counted)
        each = torch.cat([_checked(way.run(part.batch, add), part) for part in split(counted, at_once)])
        losses.append(each.mean())
        sizes.append(counted.size)
    mean = {name: sums.pop(name).div_(sum(sizes)) for name in params}
    return Squares(mean, finite_losses(losses), sizes)


def _checked(losses: Tensor, counted: Counted) -> Tensor:
    if losses.shape != (counted.size,):
        rule = f"one loss per example, a tensor of shape ({counted.size},)"
        raise invalid("objective.per_example(forward, batch)", rule, tuple(losses.shape))
    return losses
