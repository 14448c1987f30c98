"""The loss after a few steps of training: what a mask does to the network that it will become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from flowprune.core.errors import invalid
from flowprune.objectives.batch import Forward, size_of, some
from flowprune.objectives.cross_entropy import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor, nn

Inner = Literal["same", "split"]
Loss = Callable[[Forward, Any], "Tensor"]


def after_training(
    objective: Loss | None = None,
    *,
    steps: int = 3,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    inner: Inner = "same",
    first_order: bool = False,
) -> AfterTraining:
    """The objective of ProsPr: L(θ_K), θ_K being K steps of gradient descent from θ_0 = m ⊙ θ.

    Formula: v_k = momentum · v_{k-1} + ∇L(θ_k), θ_{k+1} = θ_k - learning_rate · v_k. As θ enters by m ⊙ θ alone,
    θ·∂L(θ_K)/∂θ is ∂L(θ_K)/∂m at the mask that holds. Steps leave masked entries at zero.

    Units: of the objective.

    Args:
        objective: What is trained on and, after it, evaluated; cross-entropy by default.
        steps: K; with none it is the objective itself, and the scores are those of SNIP.
        learning_rate: Of the steps.
        momentum: Of the steps, without dampening.
        inner: ``"same"``: every step and the evaluation see the whole batch; ``"split"``: each sees another part of it.
        first_order: Whether steps are taken to be independent of θ, which costs no second derivatives.

    Source: Alizadeh et al. (2022), arXiv 2202.08132. Their code detaches the first momentum, so that with momentum the
    first step counts as if it did not depend on θ; here it does.

    Raises:
        ValueError: fewer than 0 steps, a rate or a momentum out of range; from the objective, where it is not called
            with the module itself, or a batch is too small to split.

    Example:
        >>> import torch
        >>> from flowprune.objectives import mean_squared_error
        >>> layer = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(layer.weight, 2.0)
        >>> one = (torch.ones(1, 1), torch.zeros(1, 1))  # L = w², so w goes from 2 to 2 - 0.25 · 4 = 1
        >>> after_training(mean_squared_error(), steps=1, learning_rate=0.25)(layer, one).item()
        1.0
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise invalid("after_training(steps=)", "a whole number >= 0", steps)
    if not learning_rate > 0:
        raise invalid("after_training(learning_rate=)", "above 0", learning_rate)
    if not 0 <= momentum < 1:
        raise invalid("after_training(momentum=)", "in [0, 1)", momentum)
    if inner not in get_args(Inner):
        raise invalid("after_training(inner=)", "'same' or 'split'", inner)
    trained_on = cross_entropy() if objective is None else objective
    return AfterTraining(trained_on, steps, learning_rate, momentum, inner, first_order)


@dataclass(frozen=True)
class AfterTraining:
    """See :func:`after_training`. The steps belong to whole batches, so it has no loss per example.

    Attributes:
        objective: Trained on and evaluated.
        steps: How many.
        learning_rate: Of each.
        momentum: Of each.
        inner: What of the batch each sees.
        first_order: Whether the steps' own dependence on θ is left out.
        name: For messages and stored results.
    """

    objective: Loss
    steps: int = 3
    learning_rate: float = 0.1
    momentum: float = 0.0
    inner: Inner = "same"
    first_order: bool = False
    name: str = "after_training"

    def __call__(self, forward: Any, batch: Any) -> Tensor:
        """L(θ_K), a scalar tensor."""
        import torch

        if not isinstance(forward, torch.nn.Module):
            raise invalid("after_training()", "given the module itself", type(forward))
        parts = self._parts(batch)
        params = {name: param for name, param in forward.named_parameters() if param.requires_grad}
        return self.objective(_called(forward, self._trained(forward, params, parts)), next(parts))

    def _trained(self, model: nn.Module, start: Mapping[str, Tensor], parts: Iterator[Any]) -> dict[str, Tensor]:
        """θ_K, differentiable in θ_0."""
        import torch

        from flowprune.core.held import masks_on

        masks, names = masks_on(start), list(start)
        params, velocity = dict(start), {name: torch.zeros_like(value) for name, value in start.items()}
        for _ in range(self.steps):
            at = {n: p.detach().requires_grad_() for n, p in params.items()} if self.first_order else params
            loss = self.objective(_called(model, at), next(parts))
            gradient = torch.autograd.grad(
                loss, [at[name] for name in names], create_graph=not self.first_order, materialize_grads=True
            )
            for name, g in zip(names, gradient, strict=True):
                live = g.masked_fill(~masks[name], 0) if name in masks else g
                velocity[name] = self.momentum * velocity[name] + live
                params[name] = params[name] - self.learning_rate * velocity[name]
        return params

    def _parts(self, batch: Any) -> Iterator[Any]:
        """What each step, and then the evaluation, sees."""
        count = self.steps + 1
        if self.inner == "same":
            return iter([batch] * count)
        size = size_of(batch, where="after_training")
        if size < count:
            rule = f"of at least {count} examples, one for each step and one for the evaluation"
            raise invalid("after_training(inner='split'): a batch", rule, size)
        bounds = [round(i * size / count) for i in range(count + 1)]
        return (some(batch, start, stop, size=size) for start, stop in pairwise(bounds))


def _called(model: nn.Module, params: Mapping[str, Tensor]) -> Forward:
    from flowprune.core.call_at import call_at

    return lambda *args, **kwargs: call_at(model, dict(params), args, kwargs)
