"""How many examples at a time, where memory grows with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from flowprune.signals.as_found import random_state
from flowprune.signals.batches import Counted
from flowprune.signals.footprint import footprint

LEAST = 64
"""Where nothing was asked for, and an example takes much."""
LEAST_TWICE = 32
"""The same on a CPU for what is differentiated twice: at 64, ResNet-56 takes 8 % longer per example, as its temporaries
outgrow the caches."""
ROOM = 2**23
"""Bytes of graphs up to which more at a time are faster on a CPU: each part reads all the parameters again."""


def at_a_time(
    micro_batch: int | None,
    model: nn.Module,
    loss: Callable[[Callable[..., Any], Any], Tensor],
    params: Mapping[str, nn.Parameter],
    counted: Counted,
    *,
    twice: bool = False,
) -> int:
    """Most examples of a batch to be differentiated at a time.

    What was asked for; without that as many as take :data:`ROOM`, and :data:`LEAST` in any case.

    Args:
        micro_batch: Asked for.
        model: In eval mode.
        loss: Of examples that do not meet.
        params: What is differentiated.
        counted: A batch.
        twice: Whether it is a Hessian that is wanted.

    Example:
        >>> import torch
        >>> def loss(forward, x): return forward(x).square().mean()
        >>> model, batch = nn.Linear(4, 2), Counted(0, torch.ones(1000, 4), 1000)
        >>> params = dict(model.named_parameters())
        >>> at_a_time(None, model, loss, params, batch), at_a_time(7, model, loss, params, batch)
        (349525, 7)
    """
    if micro_batch is not None:
        return micro_batch
    on_cpu = next(iter(params.values())).device.type == "cpu"
    least = LEAST_TWICE if twice and on_cpu else LEAST
    if counted.size <= least:
        return least
    restore = random_state(model)
    seen = footprint(model, loss, params, counted)
    restore()
    return max(least, ROOM // max(seen.graph, 1))
