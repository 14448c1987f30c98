"""Whether an objective is a mean over examples, tried on two of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from flowprune.signals.batches import Counted, part


@torch.no_grad()
def require_mean(objective: Any, model: nn.Module, counted: Counted) -> None:
    """Raise where the loss of two examples is not the mean of the losses of each.

    A curvature of the mean loss is a mean over examples only where the loss is; of a sum it would be wrong by the size
    of the batch. The model must not couple examples, as it does not in eval mode.

    Raises:
        ValueError: a sum, or examples that are compared with each other.

    Example:
        >>> batch = Counted(0, (torch.ones(2, 1), None), 2)
        >>> require_mean(lambda forward, batch: forward(batch[0]).sum(), nn.Identity(), batch)
        Traceback (most recent call last):
        ValueError: gather(objective=) must be a mean over examples; got 2 of two examples whose losses are 1 and 1. ...
    """
    if counted.size < 2:
        return
    losses = [objective(model, part(counted, *ends)) for ends in ((0, 1), (1, 2), (0, 2))]
    dtype, (first, second, both) = losses[0].dtype, map(float, losses)
    mean = 0.5 * (first + second)
    tolerance = max(1e-3, 8 * torch.finfo(dtype).eps)
    if abs(both - mean) <= tolerance * max(abs(first), abs(second), 1e-6):
        return
    got = f"{both:.6g} of two examples whose losses are {first:.6g} and {second:.6g}"
    todo = "Divide a sum by the number of examples (reduction='mean')."
    raise ValueError(f"gather(objective=) must be a mean over examples; got {got}. {todo}")


def of_means(objective: Any, model: nn.Module, batches: Iterable[Counted]) -> Iterator[Counted]:
    """The batches, the first of them that has two examples tried by :func:`require_mean`."""
    tried = False
    for counted in batches:
        if not tried and counted.size > 1:
            require_mean(objective, model, counted)
            tried = True
        yield counted
