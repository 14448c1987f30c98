"""The scale of what is left: back to the variance that a mask took away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import invalid, unknown
from flowprune.core.held import masks_on
from flowprune.models.deviation import require_deviation

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
EMBEDDINGS: Final = (nn.Embedding, nn.EmbeddingBag)
FEW_ZEROS: Final = 0.01
"""Part of a layer that a draw may leave at zero by chance, as uniform draws in half precision do."""


@torch.no_grad()
def rescale(
    model: nn.Module, masks: Mapping[str, Tensor], *, sigma_w: float | None = None, per: Per = "layer"
) -> dict[str, Tensor]:
    """Multiply the kept weights of each layer so that it has the variance of a dense one again, in place.

    A mask leaves a layer less variance than it was initialised with: a network at the edge of chaos falls off it.

    Formula: rho = sigma_w / sqrt(fan-in · mean(mask ⊙ W²)), the mean over all entries, kept or not; of each row for
    ``per="unit"``. Without ``sigma_w``, sigma_w² = fan-in · mean(W²) of the layer as it is, so that
    rho = sqrt(mean(W²) / mean(mask ⊙ W²)). A layer, or a unit, without a kept weight has rho = 1.
    Of a transposed convolution an output sums, on average, inputs / groups · kernel / strides entries.

    Units: rho is a factor. Shapes: () per layer, or (outputs,) per unit, also where a weight has its inputs first.

    Assumes: nothing normalises what a layer gives; behind a batch norm the scale of weights means nothing.

    Args:
        model: Its masked layers are changed; masked entries too, which :func:`~flowprune.masks.apply.apply` zeroes.
        masks: Of single weights: boolean, of the weights' shapes, True = kept.
        sigma_w: The target: weights of variance sigma_w² / fan-in, such as that of
            :func:`flowprune.models.edge_of_chaos`; by default each layer's own.
        per: ``"layer"``: one factor for each; ``"unit"``: one for each output, as the paper's algorithm accumulates it.

    Returns:
        The factors by name.

    Raises:
        ValueError: masks of other units; ``sigma_w`` missing where a mask holds already or more masked weights than
            :data:`FEW_ZEROS` of a layer are zero, so that nothing says what the scale was; or ``sigma_w`` given for an
            embedding, which looks its outputs up and has no fan-in.

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
    if sigma_w is not None:
        require_deviation("rescale(sigma_w=)", sigma_w, above=True)
    params = dict(model.named_parameters())
    for name, mask in masks.items():
        _check(name, params, mask)
    if sigma_w is None:
        _check_scale(params, masks)
    owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in masks}
    factors = {name: _factor(params[name], masks[name], owner, sigma_w, per) for name, owner in owners.items()}
    if any(isinstance(module, NORMS) for module in model.modules()):
        warnings.warn(
            "rescale(model=) has normalization layers: behind them the scale of weights means nothing, and rescaling "
            "is void. It is meant for networks without.",
            stacklevel=2,
        )
    for name, rho in factors.items():
        weight = _by_output(owners[name], params[name])
        weight.mul_(rho.view(*weight.shape[:2], *[1] * (weight.dim() - 2)) if rho.dim() else rho)
    return factors


def _check(name: str, params: Mapping[str, Tensor], mask: Tensor) -> None:
    if name not in params:
        raise unknown("rescale(masks=): the model", name, params)
    where, shape = f"rescale(masks=): mask of {name!r}", tuple(params[name].shape)
    if len(shape) < 2:
        todo = "Leave biases and norms out: fp.Weights() does."
        raise invalid(where, "of a weight of two axes or more", f"a parameter of shape {shape}", todo)
    if mask.shape != params[name].shape:
        todo = "Rescale with masks of fp.Weights(), before or after fp.apply."
        raise invalid(where, f"of single weights, {shape}", tuple(mask.shape), todo)


def _check_scale(params: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Raise where a layer was cut before: what is left does not say what its scale was."""
    held = masks_on(params)
    todo = "Rescale before masks are applied, or say what the scale was, such as sigma_w=2**0.5."
    for name, mask in masks.items():
        if name in held and not bool(held[name].all()):
            got = f"None with a density of {float(held[name].double().mean()):.3g}"
            raise invalid("rescale(sigma_w=)", f"given where masks hold on {name!r} already", got, todo)
        zeros = int(((params[name] == 0) & ~mask.to(params[name].device, torch.bool)).sum())
        if zeros > FEW_ZEROS * mask.numel():
            got = f"None with {zeros} of them at zero"
            raise invalid(
                "rescale(sigma_w=)", f"given where the masked weights of {name!r} are zero already", got, todo
            )


def _factor(weight: Tensor, mask: Tensor, owner: nn.Module, sigma_w: float | None, per: Per) -> Tensor:
    squares = _by_output(owner, weight).double().square().flatten(2)
    keep = _by_output(owner, mask.to(weight.device)).flatten(2)
    fan_in = squares.shape[2] / math.prod(owner.stride if isinstance(owner, _ConvTransposeNd) else ())
    if sigma_w is not None and isinstance(owner, EMBEDDINGS):
        todo = "Leave its mask out, or pass None for its own scale."
        raise invalid("rescale(sigma_w=)", f"None for {type(owner).__name__}, which has no fan-in", sigma_w, todo)
    target = squares.mean() if sigma_w is None else torch.as_tensor(sigma_w**2 / fan_in)
    kept = (squares * keep).mean(2).flatten() if per == "unit" else (squares * keep).mean()
    found = torch.where(kept > 0, (target / kept.clamp_min(torch.finfo(kept.dtype).tiny)).sqrt(), torch.ones_like(kept))
    return found.to(weight.dtype)


def _by_output(owner: nn.Module, weight: Tensor) -> Tensor:
    """A view of a weight: group, output of the group, then all that the output sums."""
    groups = owner.groups if isinstance(owner, _ConvTransposeNd) else 1
    transposed = type(owner).__name__ == "Conv1D" and hasattr(owner, "nf")  # the linear layer of GPT-2
    if transposed or isinstance(owner, (_ConvTransposeNd, *EMBEDDINGS)):
        return weight.unflatten(0, (groups, -1)).transpose(1, 2)
    return weight.unsqueeze(0)
