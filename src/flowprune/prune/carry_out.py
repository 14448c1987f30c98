"""Masks carried out on a model: what can be removed is, and what cannot is held at zero."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowprune.core.units import UnitGroup
from flowprune.masks import Masks, apply, expand, masks_of
from flowprune.structure import CutPlan, cut_, slice_layout


def carry_out_(model: nn.Module, masks: Masks, *, release: bool = False) -> CutPlan:
    """Cut removable units out of a model in place, and set the other masked units to zero from here on.

    Args:
        model: Changed in place: the same object and module names, smaller tensors.
        masks: With a layout of this model.
        release: Whether units that an earlier call held at zero, and that these masks keep, may train again.

    Returns:
        What was removed; an optimizer needs it to follow.

    Raises:
        ValueError: the masks do not fit.
        PruningError: a mask empties its layer.

    Example:
        >>> import torch
        >>> from flowprune.core.units import rows
        >>> layer = nn.Linear(1, 3, bias=False)
        >>> masks = Masks({"weight": torch.tensor([True, False, True])}, layout={"weight": rows("weight", 3)})
        >>> _ = carry_out_(layer, masks)
        >>> layer.out_features
        2
    """
    gone = removable(masks)
    channels = {name: group for name, group in masks.layout.items() if isinstance(group, UnitGroup)}
    plan = cut_(model, channels, gone)
    left = {**masks.layout, **slice_layout(channels, gone)}
    zeroed = {name: mask for name, mask in masks.items() if name not in gone}
    if zeroed:
        params = dict(model.named_parameters())
        held = expand(params, Masks(zeroed, layout={name: left[name] for name in zeroed}))
        full = {name: keep.to(params[name].device).expand(params[name].shape) for name, keep in held.items()}
        before = {} if release else masks_of(model)
        both = {name: before[name] & full[name] if name in before else full[name] for name in full}
        apply(model, {**before, **both})
    return plan


def hold_(model: nn.Module, masks: Masks, *, besides: Mapping[str, Tensor]) -> None:
    """Set masked weights to zero from here on, whatever masks held on the model before.

    Args:
        model: Changed in place.
        masks: Of units that stay in the model: weights, or blocks of them.
        besides: Masks of single weights that hold as well, by name: a block that stays may hold weights that are cut.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> hold_(layer, Masks({"weight": torch.tensor([[True, False]])}), besides={})
        >>> layer.weight[0, 1].item()
        0.0
    """
    params = dict(model.named_parameters())
    fresh = {name: keep.expand(params[name].shape) for name, keep in expand(params, masks).items()}
    both = {name: keep & besides[name].to(keep.device) if name in besides else keep for name, keep in fresh.items()}
    apply(model, {**besides, **both})


def removable(masks: Masks) -> dict[str, Tensor]:
    """The masks of units that leave the model when they are cut."""
    return {name: mask for name, mask in masks.items() if name not in masks.layout or masks.layout[name].removable}
