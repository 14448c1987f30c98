"""The scale of what is left: back to the variance that a mask took away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Final, Literal

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import invalid, unknown

Per = Literal["layer", "unit"]
PER: Final = ("layer", "unit")
NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


@torch.no_grad()
def rescale(
    model: nn.Module, masks: Mapping[str, Tensor], *, sigma_w: float | None = None, per: Per = "layer"
) -> dict[str, Tensor]:
    """Multiply the kept weights of each layer so that it has the variance of a dense one again, in place.

    A mask leaves a layer less variance than it was initialised with: a network at the edge of chaos falls off it.

    Formula: rho = sigma_w / sqrt(fan-in · mean(mask ⊙ W²)), the mean over all entries, kept or not; of each row for
    ``per="unit"``. Without ``sigma_w``, sigma_w² = fan-in · mean(W²) of the layer as it is, so that
    rho = sqrt(mean(W²) / mean(mask ⊙ W²)). A layer, or a unit, without a kept weight has rho = 1.

    Units: rho is a factor. Shapes: () per layer, or (outputs,) per unit.

    Assumes: nothing normalises what a layer gives; behind a batch norm the scale of weights means nothing.

    Args:
        model: Its masked layers are changed; masked entries too, which :func:`~flowprune.masks.apply.apply` zeroes.
        masks: Of single weights: boolean, of the weights' shapes, True = kept.
        sigma_w: The target: weights of variance sigma_w² / fan-in, such as that of
            :func:`flowprune.models.edge_of_chaos`; by default each layer's own.
        per: ``"layer"``: one factor for each; ``"unit"``: one for each row, as the paper's algorithm accumulates it.

    Returns:
        The factors by name.

    Raises:
        ValueError: masks of other units, or ``sigma_w`` missing where the masked weights are zero already, so that
            nothing says what the scale was.

    Warns: where the model normalises.

    Source: S. Hayou et al., "Robust Pruning at Initialization", 2021, arXiv:2002.08797. Its printed form has no
    sigma_w: it sets the variance to 1 / fan-in, at which a relu network halves its signal with each layer.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 4.0], [4.0, 3.0]]))
        >>> mask = torch.tensor([[True, False], [False, True]])
        >>> rescale(layer, {"weight": mask})["weight"]  # sqrt(50 / 18)
        tensor(1.6667)
        >>> layer.weight[mask]
        tensor([5., 5.], grad_fn=<IndexBackward0>)
    """
    require_model("rescale", model)
    require_masks("rescale", masks)
    if per not in PER:
        raise unknown("rescale(per=)", per, PER)
    if sigma_w is not None and not (math.isfinite(sigma_w) and sigma_w > 0):
        raise invalid("rescale(sigma_w=)", "a standard deviation above 0, or None", sigma_w)
    params = dict(model.named_parameters())
    factors = {name: _factor(name, params, mask, sigma_w, per) for name, mask in masks.items()}
    if any(isinstance(module, NORMS) for module in model.modules()):
        warnings.warn(
            "rescale(model=) has normalization layers: behind them the scale of weights means nothing, and rescaling "
            "is void. It is meant for networks without.",
            stacklevel=2,
        )
    for name, rho in factors.items():
        params[name].mul_(rho.view(-1, *[1] * (params[name].dim() - 1)) if rho.dim() else rho)
    return factors


def _factor(name: str, params: Mapping[str, Tensor], mask: Tensor, sigma_w: float | None, per: Per) -> Tensor:
    if name not in params:
        raise unknown("rescale(masks=): the model", name, params)
    weight = params[name]
    if mask.shape != weight.shape or weight.dim() < 2:
        todo = "Rescale with masks of fp.Weights(), before or after fp.apply."
        raise invalid(f"rescale(masks=): mask of {name!r}", f"of single weights, {tuple(weight.shape)}", mask, todo)
    squares, keep = weight.double().square().flatten(1), mask.to(weight.device).flatten(1)
    if sigma_w is None and bool((~keep).any()) and not bool(squares[~keep].any()):
        todo = "Rescale before the masks are applied, or say what the scale was."
        raise invalid("rescale(sigma_w=)", f"given where the masked weights of {name!r} are zero already", None, todo)
    target = squares.mean() if sigma_w is None else torch.as_tensor(sigma_w**2 / squares.shape[1])
    kept = (squares * keep).mean(1) if per == "unit" else (squares * keep).mean()
    found = torch.where(kept > 0, (target / kept.clamp_min(torch.finfo(kept.dtype).tiny)).sqrt(), torch.ones_like(kept))
    return found.to(weight.dtype)
