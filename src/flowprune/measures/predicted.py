"""What a step of the parameters costs, a cut among them, predicted from signals taken before it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from flowprune.core.errors import invalid, renamed
from flowprune.core.tensors import dot, wide
from flowprune.masks.apply import canonical
from flowprune.masks.step import cut_step
from flowprune.signals import Signals
from flowprune.signals.step import require_fit


def predicted_step_change(signals: Signals, step: Mapping[str, Tensor], order: int = 1) -> float:
    """Signed change of the loss when the parameters move by a step δ, predicted by a Taylor model.

    Order 1 is gᵀδ = Σ g δ; order 2 adds ½ Σ d δ², with d the diagonal curvature in ``signals.curvature``.

    Shapes: ``step[name]`` as ``signals.params[name]``; parameters that it leaves out do not move.
    Units: loss units.
    Assumes: at order 2, that curvature between two parameters does not count. Weights that make up for each other move
    together, so it counts most for a step of :func:`flowprune.compensate`.

    Raises:
        ValueError: another order, a missing signal, or a step of another model.

    Example:
        >>> import torch
        >>> w = torch.tensor([2.0, 1.0])
        >>> signals = Signals(params={"w": w}, gradient={"w": torch.tensor([0.5, 3.0])}, curvature={"w": w})
        >>> step = {"w": torch.tensor([1.0, -1.0])}
        >>> predicted_step_change(signals, step), predicted_step_change(signals, step, order=2)  # + (2 + 1) / 2
        (-2.5, -1.0)
    """
    if order not in (1, 2):
        raise invalid("predicted_step_change(order=)", "1 or 2", order)
    require_fit("predicted_step_change", signals.params, step)
    change = _along("gradient", signals, step)
    if order == 2:
        squares = {name: wide(delta).square() for name, delta in step.items()}
        change += 0.5 * _along("curvature", signals, squares)
    return change


def predicted_change(signals: Signals, masks: Mapping[str, Tensor], order: int = 1) -> float:
    """Signed change of the loss when the masked entries are set to zero, predicted by a Taylor model.

    With δ = -θ on the entries that ``fp.apply`` zeroes and 0 elsewhere: order 1 is gᵀδ = -Σ θg (E6), order 2 adds
    ½ Σ d θ² with d the diagonal curvature in ``signals.curvature``.

    What ``fp.apply`` zeroes counts: of a channel its weights, its bias, and its norm's scale and shift.

    Units: loss units.
    Assumes: curvature between two weights does not count. :func:`flowprune.analysis.loss_change` tells what it adds.

    Raises:
        ValueError: another order, a missing signal, or masks for another model, or chosen at other weights: both the
            masks and the signals say at which (``point``), if they do.

    Example:
        >>> import torch
        >>> signals = Signals(params={"w": torch.tensor([2.0, 1.0])}, gradient={"w": torch.tensor([0.5, 3.0])})
        >>> predicted_change(signals, {"w": torch.tensor([False, True])})
        -1.0
    """
    with renamed({"predicted_step_change(": "predicted_change("}):
        return predicted_step_change(signals, _step("predicted_change", signals, masks), order)


def predicted_gradient_norm_change(signals: Signals, masks: Mapping[str, Tensor]) -> float:
    """Signed first-order change of ‖g‖² when the masked entries are set to zero: -2 Σ θ·(Hg) (E7).

    Units: squared loss units per squared parameter unit.

    Example:
        >>> import torch
        >>> hg = {"w": torch.tensor([0.5, 3.0])}
        >>> predicted_gradient_norm_change(
        ...     Signals(params={"w": torch.tensor([2.0, 1.0])}, hessian_gradient=hg), {"w": torch.tensor([False, True])}
        ... )
        -2.0
    """
    step = _step("predicted_gradient_norm_change", signals, masks)
    with renamed({"predicted_step_change(": "predicted_gradient_norm_change("}):
        return 2.0 * _along("hessian_gradient", signals, step)


def _step(where: str, signals: Signals, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The cut as a step; refused where masks are of another model, or of other weights as far as both say."""
    known = masks if signals.model is None else canonical(signals.model, masks)  # a tied weight by its first name
    with renamed({"apply(": f"{where}("}):
        step = cut_step(signals.params, known)
    chosen = getattr(masks, "point", None)
    if None not in (chosen, signals.point) and chosen != signals.point:
        todo = "Gather signals at the weights that are cut, or pass masks.at_any_weights() to ask it all the same."
        raise invalid(
            f"{where}(signals=)",
            f"gathered at the weights that the masks were chosen at (fingerprint {chosen})",
            f"signals of fingerprint {signals.point}",
            todo,
        )
    return step


def _along(which: str, signals: Signals, step: Mapping[str, Tensor]) -> float:
    """The inner product of a derivative and what moves; what moves must have one."""
    known = signals.require(which)
    moved = {name: delta for name, delta in step.items() if name in known or bool(delta.any())}
    for name in moved:
        if name not in known:
            rule, todo = f"given a {which} for everything that moves", "Gather it with that parameter unfrozen."
            raise invalid("predicted_step_change(signals=)", rule, f"none for {name!r}", todo)
    return dot({name: known[name] for name in moved}, moved)
