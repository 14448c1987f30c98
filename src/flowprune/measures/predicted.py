"""What a cut costs, predicted from signals taken before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.tensors import wide
from flowprune.masks import expand
from flowprune.signals import Signals


def predicted_change(signals: Signals, masks: Mapping[str, Tensor], order: int = 1) -> float:
    """Signed change of the loss when the masked entries are set to zero, predicted by a Taylor model.

    With δ = -θ on the entries that ``fp.apply`` zeroes and 0 elsewhere: order 1 is gᵀδ = -Σ θg (E6), order 2 adds
    ½ Σ d θ² with d the diagonal curvature in ``signals.curvature``.

    Units: loss units.
    Assumes: the masks were made for the model of the signals, at these parameters.

    Raises:
        ValueError: another order, a missing signal, or masks for another model.

    Example:
        >>> import torch
        >>> signals = Signals(params={"w": torch.tensor([2.0, 1.0])}, gradient={"w": torch.tensor([0.5, 3.0])})
        >>> predicted_change(signals, {"w": torch.tensor([False, True])})
        -1.0
    """
    if order not in (1, 2):
        raise invalid("predicted_change(order=)", "1 or 2", order)
    gradient = signals.require("gradient")
    change = -sum(_cut_sum(cut, theta * gradient[name]) for name, theta, cut in _cut_entries(signals, masks, gradient))
    if order == 2:
        curvature = signals.require("curvature")
        entries = _cut_entries(signals, masks, curvature)
        change += 0.5 * sum(_cut_sum(cut, theta.square() * curvature[name]) for name, theta, cut in entries)
    return change


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
    product = signals.require("hessian_gradient")
    return -2.0 * sum(
        _cut_sum(cut, theta * product[name]) for name, theta, cut in _cut_entries(signals, masks, product)
    )


def _cut_entries(
    signals: Signals, masks: Mapping[str, Tensor], known: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, values and a boolean of what is cut; a cut entry that is not zero must have a derivative."""
    for name, keep in expand(signals.params, masks).items():
        theta = signals.params[name]
        cut = (~keep).to(theta.device).expand(theta.shape)
        if name in known:
            yield name, theta, cut
        elif bool(theta[cut].any()):
            raise invalid(
                "predicted_change(signals=)",
                "given a derivative for every entry that is cut",
                f"none for {name!r}",
                "Gather it with that parameter unfrozen.",
            )


def _cut_sum(cut: Tensor, values: Tensor) -> float:
    return float(wide(values[cut]).sum())
