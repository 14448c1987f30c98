"""Which layers can be compensated, what of them is kept, and why others are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowprune.core.groups import Groups
from flowprune.core.held import masks_on
from flowprune.core.tensors import wide
from flowprune.core.units import UnitGroup
from flowprune.masks.apply import canonical
from flowprune.masks.expand import expand
from flowprune.signals.patches import LAYERS, Layer, groups_of, is_layer


@dataclass(frozen=True, eq=False)
class Solvable:
    """A layer whose weights may change.

    Attributes:
        module: The layer.
        weight: The name of its weight in the model.
        bias: The name of its bias; empty where it has none that may change.
        masked: Boolean, ``(outputs, D)``, of the weight, and of the bias as the last of D where there is one: False
            where the masks make it zero.
        read: The same, False also where the input is one of a channel that is cut, and so zero.
    """

    module: Layer
    weight: str
    bias: str
    masked: Tensor
    read: Tensor

    @property
    def values(self) -> Tensor:
        """Weights, and bias as the last of a row, in float64: ``(outputs, D)``."""
        rows = wide(self.module.weight).flatten(1)
        return (
            torch.cat([rows, wide(self.module.bias)[:, None]], 1)
            if self.bias and self.module.bias is not None
            else rows
        )

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """Such rows as the parameters have them, by name, in their types and on their devices."""
        weight = self.module.weight
        width = weight[0].numel()
        found = {self.weight: rows[:, :width].reshape(weight.shape).to(weight)}
        if self.bias and self.module.bias is not None:
            found[self.bias] = rows[:, width].to(self.module.bias)
        return found

    def of_group(self, tensor: Tensor, group: int) -> Tensor:
        """The rows of one group."""
        return tensor.chunk(groups_of(self.module))[group]


def masks_of_entries(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boolean, of the parameters' shapes: False where these masks, or those that hold already, make an entry zero.

    Raises:
        ValueError: the masks were made for another model, or a shape does not fit.
    """
    params = dict(model.named_parameters())
    held = masks_on(params)
    asked = {
        name: keep.to(params[name].device).expand(params[name].shape)
        for name, keep in expand(params, canonical(model, masks)).items()
    }
    both = {name: keep & held[name] if name in held else keep for name, keep in asked.items()}
    return {**held, **both}


def solvable(
    model: nn.Module, masks: Mapping[str, Tensor], keep: Mapping[str, Tensor]
) -> tuple[dict[str, Solvable], dict[str, str]]:
    """The layers of a model that can be solved, by path, and why those masked weights are left that are of no such one.

    Example:
        >>> model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 1))
        >>> keep = {"0.weight": torch.zeros(2, 3) > 0, "1.weight": torch.zeros(1, 3) > 0}
        >>> found, left = solvable(model, {}, keep)
        >>> list(found), left
        (['1'], {'0.weight': 'Embedding is no linear layer or convolution'})
    """
    names = {id(param): name for name, param in model.named_parameters()}
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    modules = {path: module for path, module in model.named_modules() if isinstance(module, LAYERS)}
    read, found, left = _unread(model, masks), dict[str, Solvable](), dict[str, str]()
    for path, module in modules.items():
        if not is_layer(module):
            continue
        weight, bias = names[id(module.weight)], module.bias
        if owners[id(module.weight)] > 1:
            left[weight] = "several modules share it"
        elif not module.weight.requires_grad:
            left[weight] = "it is frozen"
        else:
            free = isinstance(bias, nn.Parameter) and bias.requires_grad and owners[id(bias)] == 1
            found[path] = _solvable(module, weight, names[id(bias)] if free else "", keep=keep, read=read)
    known = {layer.weight for layer in found.values()}
    for name in keep:
        param = model.get_parameter(name)
        if param.ndim > 1 and name not in known and name not in left:
            owner = model.get_submodule(name.rpartition(".")[0])
            left[name] = f"{type(owner).__name__} is no linear layer or convolution"
    return found, {name: why for name, why in left.items() if name in keep and not bool(keep[name].all())}


def _solvable(
    module: Layer, weight: str, bias: str, *, keep: Mapping[str, Tensor], read: Mapping[str, Tensor]
) -> Solvable:
    def rows(kept: Mapping[str, Tensor], which: str, param: Tensor) -> Tensor:
        found = kept.get(which, torch.ones((), dtype=torch.bool, device=param.device)).to(param.device)
        return found.expand(param.shape).reshape(len(param), -1)

    masked = rows(keep, weight, module.weight)
    both = masked & rows(read, weight, module.weight)
    if bias and module.bias is not None:
        last = rows(keep, bias, module.bias)
        masked, both = torch.cat([masked, last], 1), torch.cat([both, last], 1)
    return Solvable(module, weight, bias, masked, both)


def _unread(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By weight, False where it reads a channel that is cut everywhere."""
    layout: Groups = getattr(masks, "layout", None) or {}
    params, found = dict(model.named_parameters()), dict[str, Tensor]()
    for name, mask in masks.items():
        group = layout.get(name)
        members = group.members if isinstance(group, UnitGroup) else ()
        for member in members:
            if member.role == "input" and member.name in params:
                param = params[member.name]
                keep = member.lay(mask.to(param.device), param).expand(param.shape)
                found[member.name] = keep & found[member.name] if member.name in found else keep
    return found
