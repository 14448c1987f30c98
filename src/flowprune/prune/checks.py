"""Verified pruning: what is asserted after every cut, each with the line that mends it.

Together they cost less than one evaluation batch: the two forward passes run on a few probe examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from flowprune.core.errors import PruningError

PROBE = 4
"""Examples of the probe batch at most."""


def probe_of(inputs: Any) -> Any:
    """The first few examples of some inputs."""
    if isinstance(inputs, Tensor):
        return inputs[:PROBE].detach() if inputs.dim() else inputs
    if isinstance(inputs, Mapping):
        return {key: probe_of(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(probe_of(value) for value in inputs)
    return inputs


@torch.no_grad()
def outputs(model: nn.Module, inputs: Any, replaced: Mapping[str, Tensor] | None = None) -> Any:
    """The model's outputs in eval mode, with some tensors replaced; modes are restored."""
    args = tuple(inputs) if isinstance(inputs, (tuple, list)) else () if isinstance(inputs, Mapping) else (inputs,)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        return functional_call(model, dict(replaced or {}), args, kwargs)
    finally:
        for module, training in modes:
            module.training = training


def check_sparsity(removed: int, asked: int, total: int) -> str:
    """Exactly as many units are gone as were asked for.

    Raises:
        PruningError: with both numbers.
    """
    if removed != asked:
        raise PruningError(
            f"The achieved sparsity must be the asked one to the unit; {asked} of {total} units asked, {removed} gone."
        )
    return "exact sparsity"
