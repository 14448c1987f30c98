"""What any step of the parameters costs: predicted from signals taken before it, and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid, unknown
from flowprune.core.tensors import dot
from flowprune.signals import Mode, Signals, mean_loss


def predicted_step_change(signals: Signals, step: Mapping[str, Tensor], order: int = 1) -> float:
    """Signed change of the loss when the parameters move by a step δ, predicted by a Taylor model.

    Order 1 is gᵀδ = Σ g δ; order 2 adds ½ Σ d δ², with d the diagonal curvature in ``signals.curvature``. With δ = -θ
    where masks cut, and 0 elsewhere, it is :func:`~flowprune.analysis.loss_change.predicted_change` of these masks.

    Shapes: ``step[name]`` as ``signals.params[name]``; parameters that it leaves out do not move.
    Units: loss units.
    Assumes: at order 2, that curvature between two parameters does not count. Weights that make up for each other move
    together, so it counts most for a step of :func:`flowprune.compensate`.

    Raises:
        ValueError: another order, a missing signal, or a step of another model.

    Example:
        >>> w = torch.tensor([2.0, 1.0])
        >>> signals = Signals(params={"w": w}, gradient={"w": torch.tensor([0.5, 3.0])}, curvature={"w": w})
        >>> step = {"w": torch.tensor([1.0, -1.0])}
        >>> predicted_step_change(signals, step), predicted_step_change(signals, step, order=2)  # + (2 + 1) / 2
        (-2.5, -1.0)
    """
    if order not in (1, 2):
        raise invalid("predicted_step_change(order=)", "1 or 2", order)
    _require_fit("predicted_step_change", signals.params, step)
    moved = {name: delta for name, delta in step.items() if bool(delta.any())}
    change = _inner("gradient", signals, moved)
    if order == 2:
        change += 0.5 * _inner("curvature", signals, moved, squared=True)
    return change


@torch.no_grad()
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
    _require_fit("measured_step_change", dict(require_model("measured_step_change", model).named_parameters()), step)
    kept = list(batches)
    before, moved = mean_loss(model, objective, kept, mode=mode), deepcopy(model)
    for name, delta in step.items():
        param = moved.get_parameter(name)
        param.add_(delta.to(param))
    return mean_loss(moved, objective, kept, mode=mode) - before


def _require_fit(where: str, params: Mapping[str, Tensor], step: Mapping[str, Tensor]) -> None:
    for name, delta in step.items():
        if name not in params:
            raise unknown(f"{where}(step=)", name, params)
        if delta.shape != params[name].shape:
            raise invalid(f"{where}(step=): {name!r}", f"of shape {tuple(params[name].shape)}", tuple(delta.shape))


def _inner(which: str, signals: Signals, step: Mapping[str, Tensor], *, squared: bool = False) -> float:
    """The sum of a derivative times the step, or its square."""
    known = signals.require(which)
    for name in step:
        if name not in known:
            todo = "Gather it with that parameter unfrozen."
            rule = f"given a {which} for everything that moves"
            raise invalid("predicted_step_change(signals=)", rule, f"none for {name!r}", todo)
    deltas = {name: delta.to(known[name].device) for name, delta in step.items()}
    factors = {name: delta.double().square() for name, delta in deltas.items()} if squared else deltas
    return dot({name: known[name] for name in step}, factors)
