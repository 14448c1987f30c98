"""The numbers that modules keep beside their tensors, after the tensors were cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def fix_attributes(module: nn.Module) -> None:
    """Set the sizes that a module states to those of its tensors; a type that states none is left alone."""
    for kind, fix in FIXES:
        if isinstance(module, kind):
            fix(module)
            return


def _transposed(module: Any) -> None:
    if module.groups > 1 and module.groups == module.in_channels:
        module.groups = module.weight.shape[0]
    module.in_channels, module.out_channels = module.weight.shape[0], module.weight.shape[1] * module.groups


def _convolution(module: Any) -> None:
    if module.groups > 1 and module.groups == module.in_channels:
        per_channel = module.out_channels // module.in_channels
        module.groups = module.weight.shape[0] // per_channel
    module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups


def _linear(module: Any) -> None:
    module.out_features, module.in_features = module.weight.shape


def _norm(module: Any) -> None:
    vector = module.weight if module.weight is not None else module.running_mean
    module.num_features = vector.shape[0]


def _prelu(module: Any) -> None:
    module.num_parameters = module.weight.shape[0]


FIXES: tuple[tuple[type[nn.Module], Callable[[Any], None]], ...] = (
    (_ConvTransposeNd, _transposed),
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
    (_NormBase, _norm),
    (nn.PReLU, _prelu),
)
"""The first row whose type fits."""
