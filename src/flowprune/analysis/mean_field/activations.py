"""The activation of a model, read from its modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import invalid
from flowprune.models.edge_of_chaos import Activation

MODULES: Final[Mapping[type[nn.Module], Callable[[Any], Activation]]] = {
    nn.ReLU: lambda module: torch.relu,
    nn.LeakyReLU: lambda module: partial(functional.leaky_relu, negative_slope=module.negative_slope),
    nn.Tanh: lambda module: torch.tanh,
    nn.ELU: lambda module: partial(functional.elu, alpha=module.alpha),
    nn.SELU: lambda module: functional.selu,
    nn.SiLU: lambda module: functional.silu,
    nn.GELU: lambda module: partial(functional.gelu, approximate=module.approximate),
    nn.Sigmoid: lambda module: torch.sigmoid,
    nn.Softplus: lambda module: partial(functional.softplus, beta=module.beta, threshold=module.threshold),
    nn.Hardtanh: lambda module: partial(functional.hardtanh, min_val=module.min_val, max_val=module.max_val),
    nn.ReLU6: lambda module: functional.relu6,
    nn.Mish: lambda module: functional.mish,
}
"""What each module of an activation computes, not in place."""
NO_ACTIVATIONS: Final = ("MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax", "GLU")
"""Classes beside the activations in PyTorch that are no function of an entry alone."""


def activation_in(where: str, model: nn.Module) -> Activation:
    """The one activation that a model's modules are of.

    Args:
        where: The function whose ``activation`` is looked for.
        model: A function that it calls in its forward, such as ``torch.relu``, is no module and not seen.

    Raises:
        ValueError: there is none, there are several, or it is none of :data:`MODULES`.

    Example:
        >>> found = activation_in("layer_chi", nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.5), nn.Linear(2, 2)))
        >>> found(torch.tensor([-2.0, 2.0]))
        tensor([-1.,  2.])
    """
    modules = [
        module
        for module in model.modules()
        if type(module).__module__ == nn.ReLU.__module__ and type(module).__name__ not in NO_ACTIVATIONS
    ]
    settings = sorted({repr(module).replace(", inplace=True", "").replace("inplace=True", "") for module in modules})
    if len(settings) != 1 or type(modules[0]) not in MODULES:
        todo = "Name it, or pass a function of a tensor, entry by entry."
        got = ", ".join(settings) or "none among the model's modules"
        raise invalid(f"{where}(activation=)", "given where the model's modules are not of one activation", got, todo)
    return MODULES[type(modules[0])](modules[0])
