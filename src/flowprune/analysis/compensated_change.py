"""What a cut costs with masks alone and with weights that make up for it, predicted and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flowprune.analysis.step_change import measured_step_change, predicted_step_change
from flowprune.core.arguments import require_model
from flowprune.masks import Compensation, compensate, expand
from flowprune.signals import Signals, gather
from flowprune.signals.point import require_same_weights


class StepCost(NamedTuple):
    """The change of the loss in one step of the parameters.

    Attributes:
        predicted: To first order; by sign: negative says that the loss falls.
        second: To second order, with the diagonal curvature of the signals; None where they have none.
        measured: What it was.
    """

    predicted: float
    second: float | None
    measured: float


@dataclass(frozen=True, eq=False)
class CompensatedChange:
    """The record of :func:`compensated_change`.

    Attributes:
        masked: Of masks alone.
        compensated: Of masks and compensated weights.
        compensation: What the outputs of each layer miss, before and after.
    """

    masked: StepCost
    compensated: StepCost
    compensation: Compensation

    def __str__(self) -> str:
        """One line for each step, and the errors of the layers."""
        rows = [f"{name:>12}{_told(cost)}" for name, cost in (("cut", self.masked), ("compensated", self.compensated))]
        head = f"{'loss':>12}{'order 1':>12}{'order 2':>12}{'measured':>12}"
        return "\n".join((head, *rows, str(self.compensation)))


def compensated_change(
    model: nn.Module,
    objective: Any,
    batches: Iterable[Any],
    masks: Mapping[str, Tensor],
    *,
    signals: Signals | None = None,
    damping: float = 0.01,
    sequential: bool = True,
) -> CompensatedChange:
    """The change of the loss that masks make, and that masks with compensated weights make; the model is left as found.

    Formula: predicted gᵀδ and, with a curvature d, gᵀδ + ½ Σ d δ²; measured L(θ + δ) - L(θ); with δ = -θ where the
    masks cut, or the whole step of :func:`flowprune.compensate`.

    Compensation keeps what layers give, not the loss: where the gradient is not small, a cut may lower the loss, and
    then making up for it raises it again.

    Units: loss units.

    Args:
        model: Before the masks are applied.
        objective: As for ``fp.gather``.
        batches: All that is measured, predicted and solved is of them.
        masks: As for ``fp.apply``.
        signals: Of this model at these weights, with a gradient, and a curvature for the second order; None: the
            gradient is gathered.
        damping: As for ``fp.compensate``.
        sequential: As for ``fp.compensate``.

    Raises:
        ValueError: what ``fp.compensate`` and ``fp.gather`` refuse, or signals of other weights.

    Example:
        >>> import flowprune as fp
        >>> _ = torch.manual_seed(0)
        >>> model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(64, 4)
        >>> batches, loss = [(x, model(x).detach())], fp.objectives.mean_squared_error()
        >>> masks = fp.select(fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Weights()), sparsity=0.5)
        >>> change = compensated_change(model, loss, batches, masks)
        >>> change.masked.predicted == 0, change.compensated.measured < change.masked.measured  # g = 0 at the optimum
        (True, True)
    """
    kept = list(batches)
    require_model("compensated_change", model)
    twin = deepcopy(model)
    compensation = compensate(twin, masks, kept, damping=damping, sequential=sequential)
    if signals is None:
        signals = gather(model, objective, kept, needs=("gradient",))
    params = {name: param.detach() for name, param in model.named_parameters()}
    require_same_weights("compensated_change", signals, model)
    keep = {name: mask.to(params[name].device) for name, mask in expand(params, masks).items()}
    cut = {name: torch.where(mask, torch.zeros_like(params[name]), -params[name]) for name, mask in keep.items()}

    def cost(step: Mapping[str, Tensor]) -> StepCost:
        second = None if signals.curvature is None else predicted_step_change(signals, step, order=2)
        measured = measured_step_change(model, objective, kept, step)
        return StepCost(predicted_step_change(signals, step), second, measured)

    return CompensatedChange(cost(cut), cost(compensation.step), compensation)


def _told(cost: StepCost) -> str:
    second = "-" if cost.second is None else f"{cost.second:.4g}"
    return f"{cost.predicted:>12.4g}{second:>12}{cost.measured:>12.4g}"
