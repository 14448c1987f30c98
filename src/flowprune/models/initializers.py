"""Initial weights that are drawn for an activation."""

from __future__ import annotations

import math

import torch
from torch import nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, renamed
from flowprune.core.held import masks_on
from flowprune.models.deviation import require_deviation
from flowprune.models.edge_of_chaos import Activation, EdgeOfChaos, edge_of_chaos

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Modules that are initialised: those whose weight has a row of fan-in entries for each output."""


@torch.no_grad()
def edge_of_chaos_(
    model: nn.Module, activation: str | Activation, sigma_b: float = 0.0, *, generator: torch.Generator | None = None
) -> EdgeOfChaos:
    """Draw the weights of all linear and convolutional layers at the edge of chaos of an activation, in place.

    Formula: W ~ N(0, sigma_w² / fan-in), b ~ N(0, sigma_b²), with sigma_w of
    :func:`~flowprune.models.edge_of_chaos.edge_of_chaos`. What ``fp.apply`` holds at zero is zero afterwards.

    Assumes: the activation is what follows these layers. Behind a normalization the scale of weights means nothing.

    Args:
        model: Is changed.
        activation: A name, or a function of a tensor, entry by entry.
        sigma_b: Standard deviation of the biases.
        generator: What is drawn from; by default PyTorch's own.

    Raises:
        ValueError: no module, one without such layers, or ``sigma_b`` above 0 where a layer has no bias.
        PruningError: the activation has no edge of chaos at ``sigma_b``.

    Source: S. Hayou et al., 2021, arXiv:2002.08797.

    Example:
        >>> model = nn.Sequential(nn.Linear(400, 300, bias=False), nn.ReLU(), nn.Linear(300, 2, bias=False))
        >>> found = edge_of_chaos_(model, "relu", generator=torch.Generator().manual_seed(0))
        >>> round(found.sigma_w**2, 6), abs(float(model[0].weight.detach().var()) * 400 - 2) < 0.02
        (2.0, True)
    """
    point = edge_of_chaos(activation, sigma_b)
    with renamed({"normal_(": "edge_of_chaos_("}):
        normal_(model, point.sigma_w, sigma_b, generator=generator)
    return point


@torch.no_grad()
def normal_(
    model: nn.Module, sigma_w: float, sigma_b: float = 0.0, *, generator: torch.Generator | None = None
) -> None:
    """Draw the weights of all linear and convolutional layers from a normal distribution, in place.

    Formula: W ~ N(0, sigma_w² / fan-in), b ~ N(0, sigma_b²). What ``fp.apply`` holds at zero is zero afterwards; the
    fan-in counts it.

    Args:
        model: Is changed.
        sigma_w: Standard deviation of a row of weights, as a whole.
        sigma_b: Standard deviation of the biases.
        generator: What is drawn from; by default PyTorch's own.

    Raises:
        ValueError: no module, one without such layers, a standard deviation out of range, or ``sigma_b`` above 0 where
            a layer has no bias.

    Example:
        >>> layer = nn.Linear(400, 300)
        >>> normal_(layer, 2.0, generator=torch.Generator().manual_seed(0))
        >>> abs(float(layer.weight.detach().var()) * 400 - 4) < 0.05, float(layer.bias.detach().abs().sum())
        (True, 0.0)
    """
    require_model("normal_", model)
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LAYERS)]
    if not layers:
        raise invalid("normal_(model=)", "one with linear or convolutional layers", type(model).__name__)
    require_deviation("normal_(sigma_w=)", sigma_w, above=True)
    require_deviation("normal_(sigma_b=)", sigma_b)
    bare = [name for name, module in layers if module.bias is None]
    if sigma_b > 0 and bare:
        todo = "Give the layers biases, or pass 0."
        raise invalid("normal_(sigma_b=)", f"0 for layers without bias, such as {bare[0]!r}", sigma_b, todo)
    for _, module in layers:
        fan_in = module.weight[0].numel()
        module.weight.normal_(0.0, sigma_w / math.sqrt(fan_in), generator=generator)
        if module.bias is not None:
            module.bias.normal_(0.0, sigma_b, generator=generator) if sigma_b else module.bias.zero_()
        own = dict(module.named_parameters(recurse=False))
        for name, mask in masks_on(own).items():
            own[name].masked_fill_(~mask, 0)
