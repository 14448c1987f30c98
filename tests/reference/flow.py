"""Gradient flow of a small net in float64, by Euler or Runge-Kutta steps, as one would write it."""

from collections.abc import Callable

import torch

Vector = torch.Tensor


def tanh_net(seed: int = 0) -> tuple[Callable[[Vector], Vector], Vector]:
    """A loss of one flat parameter vector, and a start: a 3-8-4 tanh net with cross-entropy on 16 examples."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 3, generator=g, dtype=torch.float64)
    y = torch.randint(0, 4, (16,), generator=g)
    theta = 0.7 * torch.randn(3 * 8 + 8 + 8 * 4 + 4, generator=g, dtype=torch.float64)

    def loss(p: Vector) -> Vector:
        w1, b1, w2, b2 = p[:24].view(8, 3), p[24:32], p[32:64].view(4, 8), p[64:]
        return torch.nn.functional.cross_entropy(torch.tanh(x @ w1.T + b1) @ w2.T + b2, y)

    return loss, theta


def gradient(loss: Callable[[Vector], Vector], p: Vector) -> Vector:
    return torch.func.grad(loss)(p)


def rk4(loss: Callable[[Vector], Vector], p: Vector, time: float, steps: int) -> Vector:
    h = time / steps
    for _ in range(steps):
        k1 = -gradient(loss, p)
        k2 = -gradient(loss, p + h / 2 * k1)
        k3 = -gradient(loss, p + h / 2 * k2)
        k4 = -gradient(loss, p + h * k3)
        p = p + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return p


def euler(loss: Callable[[Vector], Vector], p: Vector, time: float, steps: int) -> Vector:
    for _ in range(steps):
        p = p - time / steps * gradient(loss, p)
    return p
