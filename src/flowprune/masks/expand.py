"""From masks by unit to masks by parameter entry: what exactly becomes zero."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_masks
from flowprune.core.errors import invalid, unknown
from flowprune.core.fingerprint import fingerprint
from flowprune.core.groups import Groups


def expand(params: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boolean tensors, False where an entry is zeroed, each of a shape that broadcasts to its parameter.

    Unit masks (with a layout) reach every entry of the unit: of a channel, all that produces it (the filter, its bias,
    its norm's scale and shift). A 1-D mask without a layout reaches the slices of axis 0 of the tensor it names, and
    the bias of the same module. A mask of the parameter's shape is itself.

    Args:
        params: The model's parameters by name.
        masks: Masks by group or parameter name.

    Raises:
        ValueError: the masks were made for another model, or a shape does not fit.

    Example:
        >>> expand({"w": torch.ones(2, 3)}, {"w": torch.tensor([True, False])})["w"].shape
        torch.Size([2, 1])
    """
    require_masks("apply", masks)
    check_fingerprint(params, masks)
    layout: Groups = getattr(masks, "layout", None) or {}
    result: dict[str, Tensor] = {}
    for name, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise invalid(f"apply(masks=): mask of {name!r}", "a boolean tensor, True = kept", got)
        if name in layout:
            if mask.shape != layout[name].shape:
                raise invalid(f"apply(masks=): mask of {name!r}", f"of shape {layout[name].shape}", tuple(mask.shape))
            for member, keep in layout[name].spread(mask, params):
                _merge(result, member, keep)
        else:
            _expand_plain(result, params, name, mask)
    return result


def check_fingerprint(params: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Raise where masks carry the fingerprint of another model."""
    expected = getattr(masks, "fingerprint", None)
    if expected is not None and expected != fingerprint(params):
        raise invalid(
            "apply(masks=)",
            f"made for this model (fingerprint {fingerprint(params)})",
            f"masks of fingerprint {expected}",
            "Score and select on this model, or load the masks of the same architecture.",
        )


def refuse_unsound(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Warn where channel masks made by hand cannot say which norms follow the channels they cut."""
    plain = not getattr(masks, "layout", None) and any(mask.dim() == 1 for mask in masks.values())
    norms = any(isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)) for m in model.modules())
    if plain and norms and any(m.dim() == 1 and model.get_parameter(n).dim() > 1 for n, m in masks.items()):
        warnings.warn(
            "apply(masks=) got channel masks without a layout: filters and their own biases are zeroed, but not the "
            "norms behind them, whose shift still shows. Use masks from score(..., Channels(example_inputs=x)).",
            stacklevel=3,
        )


def _expand_plain(result: dict[str, Tensor], params: Mapping[str, Tensor], name: str, mask: Tensor) -> None:
    if name not in params:
        raise unknown("apply(masks=): the model", name, params)
    param = params[name]
    if mask.shape == param.shape:
        _merge(result, name, mask)
    elif mask.dim() == 1 and param.dim() > 1 and mask.numel() == param.shape[0]:
        _merge(result, name, mask.view(-1, *[1] * (param.dim() - 1)))
        bias = name.removesuffix("weight") + "bias"
        if name.endswith("weight") and bias in params and params[bias].shape == mask.shape:
            _merge(result, bias, mask)
    else:
        shape = f"of shape {tuple(param.shape)} or ({param.shape[0] if param.dim() else 1},)"
        raise invalid(f"apply(masks=): mask of {name!r}", shape, tuple(mask.shape))


def _merge(result: dict[str, Tensor], name: str, mask: Tensor) -> None:
    result[name] = mask if name not in result else result[name] & mask.to(result[name].device)
