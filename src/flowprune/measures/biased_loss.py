"""Orders 0 and 1 together: |θ|·|θ·g|, loss preservation biased to remove small weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.errors import invalid
from flowprune.measures.measure import FRAMEWORK, Measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from flowprune.signals import Signals


def biased_loss(signals: Signals, initial: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """C = |θ|·θ·g, or |θ - θ₀|·θ·g where the initial weights are given.

    Shapes: as the parameters. Units: loss units times parameter units.

    Args:
        signals: With a gradient.
        initial: θ₀ by name; the distance moved then takes the place of the magnitude.

    Raises:
        ValueError: ``initial`` lacks a parameter, or has another shape (a cut model needs θ₀ cut alike).

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> theta, g = {"w": torch.tensor([2.0, -1.0])}, {"w": torch.tensor([0.5, 3.0])}
        >>> biased_loss(Signals(params=theta, gradient=g))["w"]
        tensor([ 2., -3.])
    """
    result: dict[str, Tensor] = {}
    for name, g in signals.require("gradient").items():
        theta = signals.params[name]
        moved = theta
        if initial is not None:
            if name not in initial or initial[name].shape != theta.shape:
                got = tuple(initial[name].shape) if name in initial else "nothing"
                raise invalid("biased_loss(initial=)", f"of shape {tuple(theta.shape)} for {name!r}", got)
            moved = theta - initial[name].to(theta.device, theta.dtype)
        result[name] = moved.abs() * theta * g
    return result


BIASED_LOSS = Measure(
    "biased_loss",
    1,
    ("gradient",),
    "sum_abs",
    "Σ |θ|·|θ·g|",
    biased_loss,
    FRAMEWORK,
    published_as="biased_loss",
)
