"""The diagonal of the empirical Fisher matrix, from true per-example gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.batches import Counted, split
from flowprune.signals.gradient import finite_losses
from flowprune.signals.per_example import Contribution, Engine, PerExample, choose


def fisher_pass(
    model: nn.Module,
    per_example: PerExample,
    batches: Iterable[Counted],
    params: Mapping[str, nn.Parameter],
    *,
    micro_batch: int,
) -> tuple[dict[str, Tensor], list[float], list[int]]:
    r"""E[g_i^2] over all examples i, g_i being the gradient of example i's own loss at its true target.

    It is never the square of a batch mean, which is smaller by about the batch size and not a multiple of it.

    Returns:
        The diagonal, the mean loss of each batch, and the batches' sizes.

    Raises:
        ValueError: the objective does not give one loss per example.
        PruningError: examples are coupled by a batch norm.
    """
    sums = {
        name: torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))
        for name, parameter in params.items()
    }
    engine: Engine | None = None
    losses: list[Tensor] = []
    sizes: list[int] = []

    def add(name: str, contribution: Contribution) -> None:
        sums[name] += contribution.squares().view_as(sums[name])

    for counted in batches:
        engine = engine or choose(model, per_example, params, counted)
        each = torch.cat([_checked(engine(part.batch, add), part) for part in split(counted, micro_batch)])
        losses.append(each.mean())
        sizes.append(counted.size)
    fisher = {name: (value / sum(sizes)).to(params[name].dtype) for name, value in sums.items()}
    return fisher, finite_losses(losses), sizes


def _checked(losses: Tensor, counted: Counted) -> Tensor:
    if losses.shape != (counted.size,):
        rule = f"one loss per example, a tensor of shape ({counted.size},)"
        raise invalid("objective.per_example(forward, batch)", rule, tuple(losses.shape))
    return losses
