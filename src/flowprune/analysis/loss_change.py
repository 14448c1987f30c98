"""What a cut costs: measured, and beside it what Taylor models of the loss predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import renamed
from flowprune.masks.apply import canonical
from flowprune.masks.step import cut_step
from flowprune.measures.predicted import predicted_change, predicted_step_change
from flowprune.signals import Mode, Signals, gather
from flowprune.signals.point import require_same_weights
from flowprune.signals.step import curvature_along, measured_step_change


@dataclass(frozen=True)
class LossChange:
    """What a cut costs, by several models of the loss; each is signed, negative where the loss falls.

    Attributes:
        first: To first order: gᵀδ.
        second: With a diagonal curvature: gᵀδ + ½ Σ d δ²; None where the signals have none.
        full: With the whole Hessian: gᵀδ + ½ δᵀHδ; None where it was not asked for.
        measured: What it was.

    Example:
        >>> change = LossChange(first=-1.0, second=0.5, full=None, measured=0.4)
        >>> change.predicted, change.ratio
        (0.5, 1.25)
    """

    first: float
    second: float | None
    full: float | None
    measured: float

    @property
    def predicted(self) -> float:
        """By the best model there is: the whole Hessian, else its diagonal, else the gradient alone."""
        known = (self.full, self.second)
        return next((value for value in known if value is not None), self.first)

    @property
    def ratio(self) -> float:
        """Predicted by measured: 1 where the model is right, NaN where nothing changed."""
        return self.predicted / self.measured if self.measured else nan


def loss_change(
    model: nn.Module,
    objective: Any,
    batches: Iterable[Any],
    masks: Mapping[str, Tensor],
    *,
    signals: Signals | None = None,
    full: bool = False,
    mode: Mode = "eval",
) -> LossChange:
    """Predicted and measured change of the loss when the masked entries are set to zero; the model is left as found.

    With δ = -θ on the entries that ``fp.apply`` zeroes. ``full`` takes δᵀHδ from one Hessian-vector product, in place
    of its diagonal: the difference is what weights that go together are to each other.

    Units: loss units.

    Args:
        model: Before the masks are applied.
        objective: As for ``fp.gather``.
        batches: Of which everything is taken.
        masks: As for ``fp.apply``.
        signals: Of this model at these weights, with a gradient, and a curvature for the second order; None: the
            gradient is gathered. They should be of these batches.
        full: Whether the whole Hessian is asked for, at the price of 3 to 4 backward passes.
        mode: The model runs in.

    Raises:
        ValueError: signals of other weights, masks for another model, and what ``fp.gather`` refuses.

    Example:
        >>> import torch
        >>> from flowprune.objectives import mean_squared_error
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> batch = (torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0]]))            # L = (w₁ + w₂ - 1)²
        >>> both = {"weight": torch.zeros(1, 2, dtype=torch.bool)}
        >>> loss_change(model, mean_squared_error(), [batch], both, full=True)     # gᵀδ = -4, ½ δᵀHδ = 4
        LossChange(first=-4.0, second=None, full=0.0, measured=0.0)
    """
    kept = list(batches)
    require_model("loss_change", model)
    if signals is None:
        signals = gather(model, objective, kept, mode=mode)
    else:
        require_same_weights("loss_change", signals, model)
        predicted_change(signals, masks)  # refuses masks that were chosen at other weights
    step = cut_step(dict(model.named_parameters()), canonical(model, masks))
    return step_change(model, objective, kept, step, signals=signals, full=full, mode=mode)


def step_change(
    model: nn.Module,
    objective: Any,
    batches: Sequence[Any],
    step: Mapping[str, Tensor],
    *,
    signals: Signals,
    full: bool = False,
    mode: Mode = "eval",
) -> LossChange:
    """Predicted and measured change of the loss in any step δ of the parameters; see :func:`loss_change`.

    Args:
        model: At θ; it is left as found.
        objective: As for ``fp.gather``.
        batches: Read several times.
        step: δ, by parameter name.
        signals: Of this model at these weights.
        full: Whether δᵀHδ is asked for besides.
        mode: The model runs in.

    Example:
        >>> import torch
        >>> from flowprune.objectives import mean_squared_error
        >>> layer, batch = nn.Linear(1, 1, bias=False), (torch.ones(1, 1), torch.zeros(1, 1))     # L = w²
        >>> _ = nn.init.ones_(layer.weight)
        >>> signals = gather(layer, mean_squared_error(), [batch])
        >>> step_change(layer, mean_squared_error(), [batch], {"weight": torch.ones(1, 1)}, signals=signals).measured
        3.0
    """
    first = predicted_step_change(signals, step)
    second = None if signals.curvature is None else predicted_step_change(signals, step, order=2)
    half = 0.5 * curvature_along(model, objective, batches, step, mode=mode) if full else None
    measured = measured_step_change(model, objective, batches, step, mode=mode)
    return LossChange(first, second, None if half is None else first + half, measured)


def measured_change(
    model: nn.Module, objective: Any, batches: Iterable[Any], masks: Mapping[str, Tensor], *, mode: Mode = "eval"
) -> float:
    """Loss with the masked entries at zero minus loss without, over the same batches; the model is left as found.

    Units: loss units.

    Raises:
        ValueError: no batches, a loss that is not finite, or masks for another model.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 2.0)
        >>> def loss(forward, batch): return forward(batch[0]).mean()
        >>> measured_change(layer, loss, [(torch.ones(4, 1), None)], {"weight": torch.tensor([[False]])})
        -2.0
    """
    require_model("measured_change", model)
    with renamed({"apply(": "measured_change("}):
        step = cut_step(dict(model.named_parameters()), canonical(model, masks))
    return measured_step_change(model, objective, batches, step, mode=mode)
