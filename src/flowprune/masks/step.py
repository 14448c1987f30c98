"""A cut as a step of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowprune.masks.expand import expand


def cut_step(params: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """δ = -θ on the entries that ``fp.apply`` zeroes, and 0 elsewhere; of the parameters that masks reach.

    What a cut costs is what this step costs, whatever model of the loss is asked.

    Shapes: as the parameters.

    Raises:
        ValueError: masks for another model.

    Example:
        >>> cut_step({"w": torch.tensor([2.0, 3.0])}, {"w": torch.tensor([True, False])})["w"]
        tensor([ 0., -3.])
    """
    found = expand(params, masks)
    held = {name: params[name].detach() for name in found}
    return {n: torch.where(keep.to(held[n].device), torch.zeros_like(held[n]), -held[n]) for n, keep in found.items()}
