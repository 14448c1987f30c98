"""The mean loss over batches, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from flowprune.core.errors import invalid
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import read
from flowprune.signals.signals import Mode


def mean_loss(model: nn.Module, objective: Any, batches: Iterable[Any], *, mode: Mode = "eval") -> float:
    """The sample-weighted mean of the objective over all batches, without gradients; the model is left as found.

    Units: loss units.

    Raises:
        ValueError: no batches, or a loss that is NaN or infinite.

    Example:
        >>> def loss(forward, batch): return forward(batch[0]).mean()
        >>> mean_loss(nn.Identity(), loss, [(torch.tensor([[1.0]]), None), (torch.tensor([[4.0], [4.0]]), None)])
        3.0
    """
    total, samples = 0.0, 0
    with as_found(model, mode), torch.no_grad():
        for counted in read(batches, model):
            value = float(objective(model, counted.batch))
            if not math.isfinite(value):
                raise invalid(f"mean_loss(): the loss of batch {counted.index}", "finite", value)
            total += value * counted.size
            samples += counted.size
    return total / samples
