"""The norm along real training: what gradient flow predicts of the optimizer's own steps, and what corrects it.

A step of stochastic gradient descent is no piece of gradient flow: it has a size, a momentum and a weight decay. With
g the gradient of its batch, eta the learning rate, lambda the decay, mu the momentum and v the buffer after the step,

    flow       dN = -2 eta θ·g                               (E3 times the rate)
    decay      dN = -2 eta (θ·g + lambda N)
    step size  dN = -2 eta (θ·g + lambda N) + eta² ‖g + lambda θ‖²
    momentum   dN = -2 eta θ·v + eta² ‖v‖²,   v = mu v_before + g + lambda θ

and the last is exact. Without knowing v one may take momentum for a larger rate, eta / (1 - mu), in the third: right on
average where the gradients of the steps are independent of each other, or all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.hooks import RemovableHandle

from flowprune.core.errors import invalid
from flowprune.core.tensors import squared_norm, wide

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class StepChange:
    """The change of N = ‖θ‖² in one step or in several, predicted in four ways and measured.

    Attributes:
        flow: E3 alone.
        decay: With weight decay.
        step_size: With the second order of the step besides.
        momentum: With the momentum buffer besides.
        effective: As ``step_size``, at the rate eta / (1 - mu).
        measured: What the optimizer did.
        steps: How many steps.
    """

    flow: float = 0.0
    decay: float = 0.0
    step_size: float = 0.0
    momentum: float = 0.0
    effective: float = 0.0
    measured: float = 0.0
    steps: int = 0

    def __add__(self, other: StepChange) -> StepChange:
        """Of the steps of both."""
        pairs = zip(_numbers(self), _numbers(other), strict=True)
        return StepChange(*(a + b for a, b in pairs), steps=self.steps + other.steps)


def _numbers(change: StepChange) -> tuple[float, ...]:
    return change.flow, change.decay, change.step_size, change.momentum, change.effective, change.measured


def predicted_step(
    params: list[Tensor], gradients: list[Tensor], buffers: list[Tensor | None], *, rate: float, momentum: float,
    weight_decay: float,
) -> StepChange:  # fmt: skip
    """What a step of SGD is going to do to ‖θ‖²; ``measured`` is left at zero.

    Shapes: the three lists are parallel; a buffer is None before its first step.

    Example:
        >>> one = torch.tensor([1.0])                      # θ = 1, g = 1: θ becomes ½, N falls by ¾
        >>> change = predicted_step([one], [one], [None], rate=0.5, momentum=0.9, weight_decay=0.0)
        >>> change.flow, change.step_size, change.momentum
        (-1.0, -0.75, -0.75)
    """
    pull = [g if weight_decay == 0 else g + weight_decay * p for p, g in zip(params, gradients, strict=True)]
    moved = [d if v is None or momentum == 0 else momentum * v + d for d, v in zip(pull, buffers, strict=True)]
    along, decayed, along_buffer = (_inner(params, each) for each in (gradients, pull, moved))
    square, larger = squared_norm(pull), rate / (1.0 - momentum)
    return StepChange(
        flow=-2.0 * rate * along,
        decay=-2.0 * rate * decayed,
        step_size=-2.0 * rate * decayed + rate**2 * square,
        momentum=-2.0 * rate * along_buffer + rate**2 * squared_norm(moved),
        effective=-2.0 * larger * decayed + larger**2 * square,
        steps=1,
    )


def _inner(a: list[Tensor], b: list[Tensor]) -> float:
    return float(sum((wide(x) * wide(y)).sum() for x, y in zip(a, b, strict=True)))


class FollowedSteps:
    """Adds up predicted and measured changes of ‖θ‖² over the next steps of an optimizer.

    Args:
        optimizer: Plain SGD: without Nesterov momentum, dampening or ``maximize``.
        steps: After how many it stops looking; its hooks are then gone.

    Attributes:
        change: Of the steps so far.

    Raises:
        ValueError: another optimizer, whose step these formulas do not describe.

    Example:
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = SGD([weight], lr=0.5)
        >>> followed = FollowedSteps(optimizer, steps=1)
        >>> (0.5 * weight**2).sum().backward()
        >>> optimizer.step()
        >>> followed.change.measured, followed.change.momentum, followed.done
        (-0.75, -0.75, True)
    """

    def __init__(self, optimizer: Optimizer, *, steps: int) -> None:
        groups = optimizer.param_groups
        odd = [key for group in groups for key in ("nesterov", "dampening", "maximize") if group.get(key)]
        if not isinstance(optimizer, SGD) or odd:
            got = f"{type(optimizer).__name__}{f' with {odd[0]}' if odd else ''}"
            raise invalid("FollowedSteps(optimizer=)", "torch.optim.SGD without nesterov, dampening or maximize", got)
        if steps < 1:
            raise invalid("FollowedSteps(steps=)", ">= 1", steps)
        self.change = StepChange()
        self._left = steps
        self._before: tuple[float, StepChange] = (0.0, StepChange())
        self._hooks: list[RemovableHandle] = [
            optimizer.register_step_pre_hook(self._look),
            optimizer.register_step_post_hook(self._measure),
        ]

    @property
    def done(self) -> bool:
        """Whether all steps were seen."""
        return self._left == 0

    def close(self) -> None:
        """Stop looking."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @torch.no_grad()
    def _look(self, optimizer: Optimizer, *_: Any) -> None:
        total = StepChange()
        for group in optimizer.param_groups:
            live = _live(group["params"])
            buffers = [optimizer.state.get(p, {}).get("momentum_buffer") for p in live]
            total += predicted_step(
                [p.detach() for p in live],
                [p.grad for p in live if p.grad is not None],
                buffers,
                rate=float(group["lr"]),
                momentum=float(group["momentum"]),
                weight_decay=float(group["weight_decay"]),
            )
        self._before = _norm2(optimizer), total

    @torch.no_grad()
    def _measure(self, optimizer: Optimizer, *_: Any) -> None:
        norm2, predicted = self._before
        values = _numbers(predicted)[:-1]
        self.change += StepChange(*values, measured=_norm2(optimizer) - norm2, steps=1)
        self._left -= 1
        if self.done:
            self.close()


def _live(params: list[nn.Parameter]) -> list[nn.Parameter]:
    return [param for param in params if param.grad is not None]


def _norm2(optimizer: Optimizer) -> float:
    return squared_norm(p.detach() for group in optimizer.param_groups for p in _live(group["params"]))
