"""The framework itself: the squared norm of the parameters and its derivatives under gradient flow."""

from __future__ import annotations

from dataclasses import dataclass

from flowprune.core.tensors import dot, squared_norm
from flowprune.signals import Signals


@dataclass(frozen=True)
class Flow:
    """What gradient flow does to the norm and the loss at one moment.

    Attributes:
        norm2: N = ‖θ‖² over the parameters that train.
        velocity: dN/dt = -2 θᵀg (E3), None without a gradient.
        acceleration: d²N/dt² = 2(‖g‖² + θᵀHg) (E4), None without a Hessian·gradient.
        loss: L.
        loss_velocity: dL/dt = -‖g‖² (E2).
        gradient_norm2: ‖g‖².
        gradient_norm2_velocity: d‖g‖²/dt = -2 gᵀHg (E5).
    """

    norm2: float
    velocity: float | None
    acceleration: float | None
    loss: float | None
    loss_velocity: float | None
    gradient_norm2: float | None
    gradient_norm2_velocity: float | None


def flow(signals: Signals) -> Flow:
    """The norm, its first and second derivative and the loss's, under dθ/dt = -g.

    Sums run over all parameters that have a gradient (all of ``params`` where none was gathered), in float64
    between blocks. Of a masked model the gathered gradient is that of the network that trains, and so is this.

    Units: with t in units of learning rate times steps; L in nats for cross-entropy.
    Assumes: full-batch gradient flow without momentum or decay. One SGD step of rate η adds η²‖g‖² to E3, and L2
    decay λ adds -2λN (:func:`corrected_velocity`).
    Source: Lubana & Dick (2021), arXiv 2009.11839.

    Example:
        >>> import torch
        >>> theta = {"w": torch.tensor([1.0, 2.0])}                     # L = ½‖θ‖²: g = θ, Hg = θ
        >>> f = flow(Signals(params=theta, gradient=theta, hessian_gradient=theta))
        >>> f.norm2, f.velocity, f.acceleration, f.loss_velocity       # N = 5 e^(-2t)
        (5.0, -10.0, 20.0, -5.0)
    """
    gradient, product = signals.gradient, signals.hessian_gradient
    names = signals.params if gradient is None else gradient
    params = {name: signals.params[name] for name in names}
    gg = None if gradient is None else squared_norm(gradient)
    return Flow(
        norm2=squared_norm(params),
        velocity=None if gradient is None else -2.0 * dot(params, gradient),
        acceleration=None if gg is None or product is None else 2.0 * (gg + dot(params, product)),
        loss=signals.loss,
        loss_velocity=None if gg is None else -gg,
        gradient_norm2=gg,
        gradient_norm2_velocity=None if gradient is None or product is None else -2.0 * dot(gradient, product),
    )


def corrected_velocity(flow: Flow, *, learning_rate: float = 0.0, weight_decay: float = 0.0) -> float:
    """dN/dt as a plain SGD step of this rate and decay moves it: (‖θ₊‖² - ‖θ‖²) / η.

    With the step θ₊ = θ - η(g + λθ): ΔN/η = -2θᵀg - 2λN + η(‖g‖² + 2λθᵀg + λ²N), which is E3 for η, λ → 0.

    Example:
        >>> f = Flow(1.0, -2.0, None, 0.5, -1.0, 1.0, None)             # L = ½θ² at θ = 1
        >>> corrected_velocity(f, learning_rate=0.5)                    # θ₊ = ½: (¼ - 1) / ½
        -1.5
    """
    velocity, gg = flow.velocity, flow.gradient_norm2
    if velocity is None or gg is None:
        raise ValueError("corrected_velocity(flow=) must have a velocity; gather(..., needs=('gradient',)) first.")
    decayed = velocity - 2.0 * weight_decay * flow.norm2
    second = gg - weight_decay * velocity + weight_decay**2 * flow.norm2
    return decayed + learning_rate * second
