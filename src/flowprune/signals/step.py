"""The loss where parameters have moved by a step, and its curvature along the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, renamed, unknown
from flowprune.core.tensors import dot
from flowprune.signals.direction import hessian_product
from flowprune.signals.loss import mean_loss
from flowprune.signals.signals import Mode


@torch.no_grad()
def loss_after_step(
    model: nn.Module, objective: Any, batches: Iterable[Any], step: Mapping[str, Tensor], *, mode: Mode = "eval"
) -> float:
    """The mean loss at θ + δ; the model is left as found.

    Units: loss units.

    Raises:
        ValueError: no batches, a loss that is not finite, or a step of another model.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> def loss(forward, batch): return forward(batch[0]).square().mean()
        >>> _ = nn.init.constant_(layer.weight, 2.0)
        >>> loss_after_step(layer, loss, [(torch.ones(4, 1), None)], {"weight": torch.tensor([[1.0]])})
        9.0
    """
    own = dict(require_model("loss_after_step", model).named_parameters())
    require_fit("loss_after_step", own, step)
    moved = deepcopy(model)
    for name, delta in step.items():
        param = moved.get_parameter(name)
        param.add_(delta.to(param))
    return mean_loss(moved, objective, batches, mode=mode)


def measured_step_change(
    model: nn.Module, objective: Any, batches: Iterable[Any], step: Mapping[str, Tensor], *, mode: Mode = "eval"
) -> float:
    """Loss at θ + δ minus loss at θ, over the same batches; the model is left as found.

    Units: loss units.

    Raises:
        ValueError: no batches, a loss that is not finite, or a step of another model.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> def loss(forward, batch): return forward(batch[0]).square().mean()
        >>> _ = nn.init.constant_(layer.weight, 2.0)
        >>> measured_step_change(layer, loss, [(torch.ones(4, 1), None)], {"weight": torch.tensor([[1.0]])})
        5.0
    """
    kept = list(batches)
    with renamed({"loss_after_step(": "measured_step_change("}):
        after = loss_after_step(model, objective, kept, step, mode=mode)
    return after - mean_loss(model, objective, kept, mode=mode)


def curvature_along(
    model: nn.Module, objective: Any, batches: Iterable[Any], step: Mapping[str, Tensor], *, mode: Mode = "eval"
) -> float:
    """δᵀHδ, exactly, from one Hessian-vector product.

    Units: loss units.

    Raises:
        ValueError: as :func:`~flowprune.signals.hessian_product`.

    Example:
        >>> from flowprune.objectives import mean_squared_error
        >>> layer, batch = nn.Linear(1, 1, bias=False), (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
        >>> curvature_along(layer, mean_squared_error(), [batch], {"weight": torch.tensor([[2.0]])})  # 10 · 2²
        40.0
    """
    product = hessian_product(model, objective, batches, step, mode=mode)
    along = {name: delta for name, delta in step.items() if name in product}
    return dot({name: product[name].to(delta) for name, delta in along.items()}, along)


def require_fit(where: str, params: Mapping[str, Tensor], step: Mapping[str, Tensor]) -> None:
    """Raise where a step names other parameters, or has other shapes.

    Raises:
        ValueError: naming the first.

    Example:
        >>> require_fit("here", {"w": torch.ones(2)}, {"w": torch.ones(3)})
        Traceback (most recent call last):
        ValueError: here(step=): 'w' must be of shape (2,); got (3,).
    """
    for name, delta in step.items():
        if name not in params:
            raise unknown(f"{where}(step=)", name, params)
        if delta.shape != params[name].shape:
            raise invalid(f"{where}(step=): {name!r}", f"of shape {tuple(params[name].shape)}", tuple(delta.shape))
