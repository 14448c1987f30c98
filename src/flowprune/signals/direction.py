"""The Hessian of the mean loss times any direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, renamed, unknown
from flowprune.core.held import masks_on
from flowprune.core.tensors import require_finite
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import Counted, read
from flowprune.signals.gradient import FirstPass, Loss, finite_losses, loss_of
from flowprune.signals.hessian import second_pass
from flowprune.signals.parts import require_micro_batch
from flowprune.signals.precision import cast, in_precision
from flowprune.signals.signals import Mode
from flowprune.signals.sweep import Request

WHERE = "hessian_product"


def hessian_product(
    model: nn.Module,
    objective: Loss,
    batches: Iterable[Any],
    direction: Mapping[str, Tensor],
    *,
    mode: Mode = "eval",
    micro_batch: int | None = None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """H v, exactly, with H the Hessian of the mean loss over all examples of all batches and v any direction.

    The direction of ``gather(needs=("hessian_gradient",))`` is g; this is for others. A forward pass gives the losses,
    which those of the second pass must be, and as many examples at a time are differentiated twice as ``gather`` does.
    As there, what a mask holds at zero is no variable: it is no part of the direction, and zero in the result. The
    model is left as found.

    Shapes: ``direction[name]`` as the parameter, and the result too. Units: loss per squared weight times those of v.

    Args:
        model: Any module.
        objective: As for ``gather``.
        batches: As for ``gather``.
        direction: v, by parameter name; what it leaves out is zero.
        mode: As for ``gather``.
        micro_batch: As for ``gather``.
        seed: As for ``gather``.

    Returns:
        One tensor for each trainable parameter.

    Raises:
        ValueError: a direction that is not along trainable parameters, of another shape, or not finite; what ``gather``
            refuses.
        PruningError: the model gave another loss when it was run again, or cannot be differentiated twice.

    Example:
        >>> from flowprune.objectives import mean_squared_error
        >>> model = nn.Linear(1, 1, bias=False)
        >>> batch = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))  # L = 5 w^2, H = 10
        >>> hessian_product(model, mean_squared_error(), [batch], {"weight": torch.tensor([[2.0]])})
        {'weight': tensor([[20.]])}
    """
    run = in_precision(require_model(WHERE, model), objective)
    require_micro_batch(WHERE, micro_batch)
    params = {name: parameter for name, parameter in run.named_parameters() if parameter.requires_grad}
    if not params:
        raise invalid(f"{WHERE}(model=)", "a model with trainable parameters", "none", "Call requires_grad_() on some.")
    v = _along(direction, params, dict(run.named_parameters()))
    masks = masks_on(dict(run.named_parameters()))
    request = Request(run, objective, params, frozenset(), mode, micro_batch, masks=masks)
    with renamed({"gather(": f"{WHERE}("}), as_found(run, mode, seed=seed) as rewind:
        kept = list(read(batches, run, where=WHERE))
        if getattr(objective, "one_batch", False):  # all batches give the same
            kept = kept[:1]
        if run is not model:
            dtype = next(run.parameters()).dtype
            kept = [replace(counted, batch=cast(counted.batch, dtype)) for counted in kept]
        losses = _losses(run, objective, kept)
        rewind()
        first = FirstPass(request.live(v), {}, losses, [counted.size for counted in kept])
        # Batch statistics are updated in place, which forward mode refuses.
        product = second_pass(run, objective, kept, params, first, at_once=request.twice(), forward_mode=mode == "eval")
    require_finite(f"{WHERE}()", product)
    return request.live(product)


@torch.no_grad()
def _losses(model: nn.Module, objective: Loss, batches: list[Counted]) -> list[float]:
    return finite_losses([loss_of(objective, model, counted.batch) for counted in batches])


def _along(
    direction: Mapping[str, Tensor], params: Mapping[str, Tensor], every: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The direction with zeros where it says nothing, of the parameters' types."""
    for name, value in direction.items():
        if name not in every:
            raise unknown(f"{WHERE}(direction=)", name, every)
        if value.shape != every[name].shape:
            rule, got = f"of shape {tuple(every[name].shape)}", tuple(value.shape)
            raise invalid(f"{WHERE}(direction=): {name!r}", rule, got)
        if name not in params and bool(value.any()):
            raise invalid(f"{WHERE}(direction=)", "along trainable parameters", name, "Unfreeze it, or leave it out.")
    require_finite(f"{WHERE}(direction=)", direction)
    return {
        name: direction[name].detach().to(parameter) if name in direction else torch.zeros_like(parameter).detach()
        for name, parameter in params.items()
    }
