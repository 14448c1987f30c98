"""What a cut costs with masks alone and with weights that make up for it, predicted and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from flowprune.analysis.loss_change import LossChange, step_change
from flowprune.core.arguments import require_model
from flowprune.masks import Compensation, compensate
from flowprune.masks.apply import canonical
from flowprune.masks.step import cut_step
from flowprune.signals import Signals, gather
from flowprune.signals.point import require_same_weights


@dataclass(frozen=True, eq=False)
class CompensatedChange:
    """The record of :func:`compensated_change`.

    Attributes:
        masked: Of masks alone.
        compensated: Of masks and compensated weights.
        compensation: What the outputs of each layer miss, before and after.

    Example:
        >>> alone, made_up = LossChange(0.5, None, None, 0.75), LossChange(0.25, None, None, 0.125)
        >>> print(CompensatedChange(alone, made_up, Compensation({}, {})))
                loss     order 1     order 2    measured
                 cut         0.5           -        0.75
         compensated        0.25           -       0.125
        output error of 0 layers
    """

    masked: LossChange
    compensated: LossChange
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
        >>> import torch
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
    require_same_weights("compensated_change", signals, model)
    cut = cut_step(dict(model.named_parameters()), canonical(model, masks))
    alone, made_up = (step_change(model, objective, kept, step, signals=signals) for step in (cut, compensation.step))
    return CompensatedChange(alone, made_up, compensation)


def _told(cost: LossChange) -> str:
    second = "-" if cost.second is None else f"{cost.second:.4g}"
    return f"{cost.first:>12.4g}{second:>12}{cost.measured:>12.4g}"
