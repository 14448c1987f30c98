"""What a cut costs, predicted from signals taken before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from torch import Tensor

from flowprune.core.errors import invalid, renamed
from flowprune.core.tensors import wide
from flowprune.masks import expand
from flowprune.masks.apply import canonical
from flowprune.masks.expand import check_fingerprint
from flowprune.signals import Signals


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
    if order not in (1, 2):
        raise invalid("predicted_change(order=)", "1 or 2", order)
    _require_here("predicted_change", signals, masks)
    gradient = signals.require("gradient")
    change = -sum(_cut_sum(cut, theta, gradient[name]) for name, theta, cut in _cut_entries(signals, masks, gradient))
    if order == 2:
        curvature = signals.require("curvature")
        entries = _cut_entries(signals, masks, curvature)
        change += 0.5 * sum(_cut_sum(cut, theta, theta, curvature[name]) for name, theta, cut in entries)
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
    _require_here("predicted_gradient_norm_change", signals, masks)
    product = signals.require("hessian_gradient")
    return -2.0 * sum(_cut_sum(cut, theta, product[name]) for name, theta, cut in _cut_entries(signals, masks, product))


def _require_here(where: str, signals: Signals, masks: Mapping[str, Tensor]) -> None:
    """Raise where masks were made for another model, or at other weights than the signals, as far as both say."""
    with renamed({"apply(": f"{where}("}):
        check_fingerprint(signals.params, masks)
    chosen = getattr(masks, "point", None)
    if None not in (chosen, signals.point) and chosen != signals.point:
        todo = "Gather signals at the weights that are cut, or pass masks.at_any_weights() to ask it all the same."
        raise invalid(
            f"{where}(signals=)",
            f"gathered at the weights that the masks were chosen at (fingerprint {chosen})",
            f"signals of fingerprint {signals.point}",
            todo,
        )


def _cut_entries(
    signals: Signals, masks: Mapping[str, Tensor], known: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, values and a boolean of what is cut; a cut entry that is not zero must have a derivative."""
    for name, keep in expand(signals.params, _named(signals, masks)).items():
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


def _named(signals: Signals, masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The masks, of a tied parameter by its first name."""
    return masks if signals.model is None else canonical(signals.model, masks)


def _cut_sum(cut: Tensor, *factors: Tensor) -> float:
    """The sum over what is cut of the product of some tensors, taken in float64 where there is that."""
    return float(prod(wide(factor[cut]) for factor in factors).sum())
