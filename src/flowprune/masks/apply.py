"""Masked weights are zero, and stay zero under any optimizer.

The model stays a plain module: no wrapped layers, no renamed parameters, no second copy in the state dict.
After every ``step()`` of any ``torch.optim`` optimizer, masked weights and their momenta are multiplied by the
mask, so a checkpoint saved at any time holds exact zeros; masked gradients are zeroed as they arrive, so a
hand-written update and gradient clipping see the sparse network alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import PruningError
from flowprune.core.held import astray, factor, hold, let_go, zero_
from flowprune.core.tensors import count_true
from flowprune.masks.expand import expand, refuse_unsound

ATTRIBUTE = "_flowprune_masks"
_HOOK: list[RemovableHandle] = []  # the one optimizer hook, once the first mask is applied

Kept = tuple[tuple[int, Tensor], ...]
"""For each axis that shrinks: the axis, and the positions kept."""
Replaced = Mapping[nn.Parameter, tuple[nn.Parameter, Kept] | None]
"""For each parameter that left a model its successor and the positions kept, or None where it has none."""


class Keeper:
    """Holds the masks of one model's parameters by name; copies and pickles with the model and goes on keeping.

    Masks are boolean, True = kept, and never written to: what reads them may share their memory.
    """

    def __init__(self, pairs: dict[str, tuple[nn.Parameter, Tensor]]) -> None:
        self.pairs = pairs
        self._handles: list[RemovableHandle] = []
        self._enlist()

    def _enlist(self) -> None:
        if not _HOOK:
            _HOOK.append(register_optimizer_step_post_hook(_after_step))
        for param, mask in self.pairs.values():
            hold(param, mask)
            trains = param.requires_grad
            param.requires_grad_(True)  # a hook is refused otherwise, and it must hold once the parameter is unfrozen
            self._handles.append(param.register_post_accumulate_grad_hook(_mask_gradient))
            param.requires_grad_(trains)

    def release(self) -> None:
        """Stop keeping: the weights are free again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for param, _ in self.pairs.values():
            let_go(param)

    def enforce(self) -> None:
        """Set every masked entry to zero, whatever it holds."""
        for param, mask in self.pairs.values():
            zero_(param, mask)

    def adopt(self, model: nn.Module) -> None:
        """Keep the parameters that the model has now under the names that are kept."""
        live = dict(model.named_parameters())
        pairs = {name: (live[name], mask) for name, (_, mask) in self.pairs.items() if name in live}
        self.release()
        self.pairs = pairs
        self._enlist()

    def follow_names(self, names: Mapping[nn.Parameter, str]) -> None:
        """Go on with the parameters that are left, under the names that they have now."""
        self.release()
        self.pairs = {names[pair[0]]: pair for pair in self.pairs.values() if pair[0] in names}
        self._enlist()

    def follow_cut(self, replaced: Replaced) -> None:
        """Keep what is left after units were removed: the same masks, at the positions that stay."""
        self.release()
        cut = ((name, _cut(pair, replaced)) for name, pair in self.pairs.items())
        self.pairs = {name: pair for name, pair in cut if pair is not None and not bool(pair[1].all())}
        self._enlist()

    def __getstate__(self) -> dict[str, Any]:
        return {"pairs": self.pairs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Reached by deepcopy and by unpickling: the copied parameters are kept as the originals are.
        self.pairs = {name: (param, mask != 0) for name, (param, mask) in state["pairs"].items()}
        self._handles = []
        self._enlist()


def apply(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Set masked weights to zero in place, and keep them zero from here on; returns the model.

    Holds under SGD with momentum and weight decay, Adam, AdamW and any other ``torch.optim`` optimizer, in the
    saved state dict, after ``load_state_dict`` and in a ``deepcopy``. A second call replaces the first one's masks.
    An optimizer that tries weights inside one ``step()`` (LBFGS) may move masked ones there; they are zero after it.

    Args:
        model: Its parameters are changed in place.
        masks: From :func:`~flowprune.masks.select.select`, or boolean tensors by parameter name, True = kept.

    Raises:
        ValueError: the masks were made for another model, or a shape does not fit; nothing is changed.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = apply(layer, {"weight": torch.tensor([[True, False]])})
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
        >>> for _ in range(2): layer(torch.ones(1, 2)).sum().backward(); optimizer.step()
        >>> bool(layer.weight[0, 1] == 0)
        True
    """
    require_model("apply", model)
    require_masks("apply", masks)
    params = dict(model.named_parameters())
    keep = expand(params, canonical(model, masks))
    refuse_unsound(model, masks)
    pairs = {n: (param, keep[n].to(param.device, copy=True)) for n, param in params.items() if n in keep}
    release(model)
    keeper = Keeper(pairs)
    setattr(model, ATTRIBUTE, keeper)
    keeper.enforce()
    if not getattr(model, f"{ATTRIBUTE}_hooked", False):
        model.register_load_state_dict_post_hook(_after_load)
        setattr(model, f"{ATTRIBUTE}_hooked", True)
    return model


def release(model: nn.Module) -> nn.Module:
    """Let masked weights train again; their values stay zero until something moves them.

    Args:
        model: Changed in place; one on which no masks hold is left as it is.

    Example:
        >>> layer = apply(nn.Linear(2, 1, bias=False), {"weight": torch.tensor([[True, False]])})
        >>> masks_of(release(layer)), layer.weight[0, 1].item()
        ({}, 0.0)
    """
    keeper = model.__dict__.pop(ATTRIBUTE, None)
    if keeper is not None:
        keeper.release()
    return model


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The masks that hold on a model, boolean and of the parameters' shapes; empty where none do.

    Example:
        >>> masks_of(apply(nn.Linear(2, 1, bias=False), {"weight": torch.tensor([[True, False]])}))["weight"]
        tensor([[ True, False]])
    """
    keeper: Keeper | None = model.__dict__.get(ATTRIBUTE)
    pairs = {} if keeper is None else keeper.pairs
    return {name: mask.expand(param.shape).clone() for name, (param, mask) in pairs.items()}


def check_zeros(model: nn.Module) -> None:
    """Raise where a masked weight of the model is not exactly zero, or its parameter was replaced.

    Raises:
        PruningError: naming the parameter and how many of its masked weights moved.

    Example:
        >>> layer = apply(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})
        >>> check_zeros(layer)
    """
    keeper: Keeper | None = model.__dict__.get(ATTRIBUTE)
    live = dict(model.named_parameters())
    for name, (param, mask) in keeper.pairs.items() if keeper is not None else ():
        if live.get(name) is not param:
            raise PruningError(
                f"Masked weights must be zero; {name!r} was replaced by another parameter, which nothing masks. "
                "Call fp.apply(model, masks) again after it."
            )
        moved = count_true(astray(param, mask))
        if moved:
            raise PruningError(
                f"Masked weights must be zero; {moved} of {name!r} are not. Something other than a torch.optim "
                "optimizer wrote them: call fp.apply(model, masks) again after it."
            )


def canonical(model: nn.Module, masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The masks with the second name of a tied parameter replaced by its first."""
    every = dict(model.named_parameters(remove_duplicate=False))
    first = {id(param): name for name, param in model.named_parameters()}
    if all(name not in every or first[id(every[name])] == name for name in masks):
        return masks
    return {first[id(every[name])] if name in every else name: mask for name, mask in masks.items()}


@torch.no_grad()
def _after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Mask weights, and every state tensor of a weight's shape, right after an optimizer's step."""
    del args, kwargs
    tensors: list[Tensor] = []
    masks: list[Tensor] = []
    for group in optimizer.param_groups:
        for param in group["params"]:
            mask = factor(param)
            if mask is None:
                continue
            state = [v for v in optimizer.state.get(param, {}).values() if _alike(v, param)]
            for tensor in (param, *state):
                tensors.append(tensor)
                masks.append(mask if tensor.dtype == mask.dtype else mask.to(tensor.dtype))
    if tensors:
        torch._foreach_mul_(tensors, masks)


def _cut(pair: tuple[nn.Parameter, Tensor], replaced: Replaced) -> tuple[nn.Parameter, Tensor] | None:
    param, mask = pair
    if param not in replaced:
        return pair
    successor = replaced[param]
    if successor is None:
        return None
    new, axes = successor
    for axis, kept in axes:
        if mask.shape[axis] != 1:  # an axis of one entry is spread over the parameter's
            mask = mask.index_select(axis, kept.to(mask.device))
    return new, mask


def _alike(value: Any, param: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == param.shape and value.dim() > 0


@torch.no_grad()
def _mask_gradient(param: Tensor) -> None:
    mask = factor(param)
    if mask is not None and param.grad is not None:
        param.grad.mul_(mask.to(param.grad.device, param.grad.dtype))


def _after_load(module: nn.Module, incompatible: Any) -> None:
    del incompatible
    keeper: Keeper | None = module.__dict__.get(ATTRIBUTE)
    if keeper is not None:
        keeper.adopt(module)  # load_state_dict(assign=True) puts new parameters in place
        keeper.enforce()
