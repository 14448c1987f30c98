"""Loss scaling: small gradients of float16 activations would be flushed to zero without it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

INITIAL, GROWTH, BACKOFF, PATIENCE = 2.0**16, 2.0, 0.5, 2000
"""Where the scale starts, how it grows after so many steps without overflow, and how it shrinks at one."""


class LossScale:
    """Multiplies the gradient of the loss, and divides the parameters' gradients again before the optimizer's step.

    The loss itself keeps its value. Where a gradient overflows, the step is skipped (the optimizer finds no gradients)
    and the scale is halved; after 2,000 good steps it is doubled.

    Args:
        optimizer: Whose steps are prepared; a hook stays on it.

    Attributes:
        scale: The factor.
        good: Steps without overflow since it last changed.

    Source: Micikevicius et al. 2018, arXiv 1710.03740.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> scale = LossScale(optimizer)
        >>> scale((weight**2).sum()).backward()
        >>> weight.grad.item() / scale.scale
        2.0
        >>> optimizer.step()
        >>> weight.item()
        0.0
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.scale, self.good = INITIAL, 0
        optimizer.register_step_pre_hook(self._before_step)

    def __call__(self, loss: Tensor) -> Tensor:
        """The loss, whose gradient is scaled."""
        if loss.requires_grad:
            loss = loss.clone()
            loss.register_hook(self._scaled)
        return loss

    def _scaled(self, gradient: Tensor) -> Tensor:
        return gradient * self.scale

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in params if p.grad is not None]
        if not gradients:
            return
        torch._foreach_mul_(gradients, 1.0 / self.scale)
        norm = torch.stack([g.float().abs().max() for g in gradients if g.numel()]).max()
        if bool(torch.isfinite(norm)):
            self.good += 1
            if self.good == PATIENCE:
                self.scale, self.good = self.scale * GROWTH, 0
            return
        self.scale, self.good = self.scale * BACKOFF, 0
        for param in params:
            param.grad = None
