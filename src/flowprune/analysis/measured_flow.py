"""The norm's derivatives measured, not predicted: a short gradient flow on a copy of the model."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.core.tensors import dot, has_float64, squared_norm, wide
from flowprune.signals import Mode, gather

Named = dict[str, Tensor]


@dataclass(frozen=True)
class MeasuredFlow:
    """Derivatives of N = ‖θ‖² along a measured piece of gradient flow.

    Attributes:
        velocity: dN/dt by a central difference, (N(h) - N(-h)) / 2h.
        acceleration: d²N/dt² by a central difference of the velocity, (Ṅ(h/2) - Ṅ(-h/2)) / h. A second difference
            of N itself would drown in rounding at the short times that ReLU networks ask for.
        step: The time h, in units of learning rate times steps.
    """

    velocity: float
    acceleration: float
    step: float


def measured_flow(
    model: nn.Module, objective: Any, batches: Iterable[Any], *, step: float = 1e-3, mode: Mode = "eval"
) -> MeasuredFlow:
    """Follow dθ/dt = -g a time h forward and back from here, and difference the norm.

    Each way is one step of the midpoint rule, so the differences err by O(h²) alone where the loss is smooth:
    three gradients in all. ReLU kinks inside the step show up as disagreement with E4, which knows the Hessian
    between the kinks alone: the longer the step, the more of them it crosses. The model is copied in float64;
    norms are summed in float64. What masks hold at zero on the model stays there: it is no part of the flow.

    Args:
        model: Left as found.
        objective: As for :func:`flowprune.signals.gather`.
        batches: The same batches the prediction was gathered on.
        step: h; must be small against the time on which the gradient changes.
        mode: As for gather.

    Raises:
        ValueError: a step that is not positive.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False).double()
        >>> _ = nn.init.constant_(layer.weight, 1.0)
        >>> def half_square(forward, batch): return 0.5 * forward(batch[0]).square().mean()
        >>> m = measured_flow(layer, half_square, [(torch.ones(1, 1).double(), None)], step=1e-4)
        >>> round(m.velocity, 5), round(m.acceleration, 4)              # N = e^(-2t)
        (-2.0, 4.0)
    """
    if step <= 0:
        raise invalid("measured_flow(step=)", "positive", step)
    kept = [_double(batch) for batch in batches]
    copy = _exact(model)
    start = {name: param.detach().clone() for name, param in copy.named_parameters() if param.requires_grad}

    def gradient(at: Named) -> Named:
        _set(copy, at)
        return gather(copy, objective, kept, needs=("gradient",), mode=mode).require("gradient")

    first = gradient(start)
    norms: list[float] = []
    velocities: list[float] = []
    for h in (step, -step):
        halfway = _along(start, first, -h / 2)
        there = gradient(halfway)
        velocities.append(-2.0 * dot({name: halfway[name] for name in there}, there))
        norms.append(squared_norm(_along(start, there, -h)))
    return MeasuredFlow((norms[0] - norms[1]) / (2 * step), (velocities[0] - velocities[1]) / step, step)


def _exact(model: nn.Module) -> nn.Module:
    """A copy in float64, on the CPU where a parameter's device has no float64; gather takes the batches to it."""
    copy = deepcopy(model)
    there = all(has_float64(param.device) for param in copy.parameters())
    return (copy if there else copy.cpu()).double()


def _along(start: Named, direction: Named, h: float) -> Named:
    return {name: value + h * direction[name] for name, value in start.items()}


@torch.no_grad()
def _set(model: nn.Module, values: Named) -> None:
    for name, param in model.named_parameters():
        if name in values:
            param.copy_(values[name])


def _double(value: Any) -> Any:
    """A batch with its floating tensors in float64, where that can be."""
    if isinstance(value, Tensor):
        return wide(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _double(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_double(item) for item in value)
    return value
