"""What a cut costs, measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from flowprune.masks import apply
from flowprune.signals import Mode, mean_loss


def measured_change(
    model: nn.Module, objective: Any, batches: Iterable[Any], masks: Mapping[str, Tensor], *, mode: Mode = "eval"
) -> float:
    """Loss with the masked entries at zero minus loss without, over the same batches; the model is left as found.

    Units: loss units.

    Raises:
        ValueError: no batches, a loss that is not finite, or masks for another model.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 2.0)
        >>> def loss(forward, batch): return forward(batch[0]).mean()
        >>> measured_change(layer, loss, [(torch.ones(4, 1), None)], {"weight": torch.tensor([[False]])})
        -2.0
    """
    kept = list(batches)
    before = mean_loss(model, objective, kept, mode=mode)
    masked = apply(deepcopy(model), masks)
    return mean_loss(masked, objective, kept, mode=mode) - before
