"""The first pass: mean loss, its gradient, and what comes with it for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.batches import Counted
from flowprune.signals.mean import Mean

Loss = Callable[[Callable[..., Any], Any], Tensor]
"""``objective(forward, batch) -> scalar mean loss``."""


@dataclass(frozen=True)
class FirstPass:
    """What one sweep over the batches gives.

    Attributes:
        gradient: Sample-weighted mean of the batches' gradients: that of the mean loss over all examples.
        moments: Sample-weighted means of other functions of the batches' gradients, by the signal's name.
        losses: Mean loss of each batch.
        sizes: Examples in each batch.
    """

    gradient: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    losses: list[float]
    sizes: list[int]

    @property
    def loss(self) -> float:
        """The mean over all examples."""
        return over_examples(self.losses, self.sizes)


def _squared(gradient: tuple[Tensor, ...]) -> Sequence[Tensor]:
    return torch._foreach_mul(gradient, gradient)


MOMENTS: Final[Mapping[str, Callable[[tuple[Tensor, ...]], Sequence[Tensor]]]] = {
    "minibatch_fisher": _squared,
    "absolute_gradient": torch._foreach_abs,
}
"""Signals that are means of a function of a batch's gradient."""


def over_examples(losses: Iterable[float], sizes: list[int]) -> float:
    """The sample-weighted mean.

    Example:
        >>> over_examples([1.0, 4.0], [2, 1])
        2.0
    """
    return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)


def loss_of(objective: Loss, forward: Callable[..., Any], batch: Any) -> Tensor:
    """The objective's value, checked to be a scalar tensor.

    Raises:
        ValueError: it is not.
    """
    loss = objective(forward, batch)
    if not isinstance(loss, Tensor) or loss.ndim:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise invalid("objective(forward, batch)", "a scalar tensor", got, "Return the mean over the batch's examples.")
    return loss


def gradient_of(loss: Tensor, parameters: list[nn.Parameter], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Its gradient, with zeros for parameters it does not use; ``.grad`` is not touched.

    Raises:
        ValueError: it depends on none of them.
    """
    if not loss.requires_grad:
        todo = "Compute it through forward(...), without torch.no_grad() or .detach()."
        raise invalid("objective(forward, batch)", "a loss that depends on the model's parameters", "a constant", todo)
    return torch.autograd.grad(loss, parameters, create_graph=create_graph, materialize_grads=True)


def first_pass(
    model: nn.Module,
    objective: Loss,
    batches: Iterable[Counted],
    params: Mapping[str, nn.Parameter],
    *,
    needs: Collection[str] = (),
    masks: Mapping[str, Tensor] | None = None,
    copies: bool = True,
) -> FirstPass:
    """Sweep once over the batches as they come: gradient, loss and those of :data:`MOMENTS` that are needed.

    What ``masks`` (True = kept, by name) hold at zero has zeros in all of them, whatever came out: it is no variable.

    Raises:
        ValueError: a loss is not a scalar, not finite, or independent of the parameters.
    """
    mean, parameters = Mean(), list(params.values())
    moments = {name: Mean() for name in MOMENTS if name in needs}
    losses: list[Tensor] = []
    sizes: list[int] = []
    for counted in batches:
        loss = loss_of(objective, model, counted.batch)
        gradient = gradient_of(loss, parameters)
        mean.add(gradient, counted.size)
        for name, moment in moments.items():
            moment.add(MOMENTS[name](gradient), counted.size)
        losses.append(loss.detach())
        sizes.append(counted.size)
        del loss, gradient  # the mean holds what it needs
    kept = [(masks or {}).get(name) for name in params]
    named = dict(zip(params, mean.result(kept, copies=copies), strict=True))
    found = {
        name: dict(zip(params, moment.result(kept, copies=copies), strict=True)) for name, moment in moments.items()
    }
    return FirstPass(named, found, finite_losses(losses), sizes)


def finite_losses(losses: list[Tensor]) -> list[float]:
    """The losses as numbers. They are read here, after the sweep, so that a GPU need not wait at each batch.

    Raises:
        ValueError: one is NaN or infinite, naming the batch.
    """
    values = [float(loss) for loss in losses]
    for index, value in enumerate(values):
        if not math.isfinite(value):
            todo = "Look at the inputs of that batch, at the model's weights and at the learning rate."
            raise invalid("objective(forward, batch)", "finite", f"{value} in batch {index}", todo)
    return values
