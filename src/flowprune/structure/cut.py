"""The cut itself: smaller tensors in the same modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.core.units import Layout
from flowprune.structure.architecture import Architecture
from flowprune.structure.attributes import fix_attributes, new_sizes
from flowprune.structure.depth.drop import drop_, gone_blocks
from flowprune.structure.history import Dropping, Moment, Operation, Removal, record_
from flowprune.structure.hollow import is_hollow
from flowprune.structure.memory import recall, remember
from flowprune.structure.records import Trace
from flowprune.structure.slicing import Kept, check_masks, removed_positions, shorten_trace, slice_trace
from flowprune.structure.swapping import swap_

Replaced = Mapping[nn.Parameter, tuple[nn.Parameter, Kept] | None]
Names = Mapping[str, str | None]


class CutPlan(Mapping[str, Kept]):
    """What was cut: for each tensor that shrank, the positions kept along its axes.

    Attributes:
        replaced: For each parameter object that left the model, its successor and the positions kept: what an
            optimizer needs to follow (:func:`flowprune.core.optimizer_state.follow`). None where it has none.
        operation: What the model's record has of it: the positions with the attributes that changed and the units
            (:class:`~flowprune.structure.history.Removal`), or the blocks that were taken out.
        dense: Names and shapes of the model's tensors before.
        names: Where blocks were taken out, the new name of each parameter, by its old one; None where it is gone.
    """

    def __init__(
        self, operation: Removal | Dropping, replaced: Replaced, dense: Architecture, names: Names | None = None
    ) -> None:
        self.operation: Operation = operation
        self.replaced = dict(replaced)
        self.dense = dense
        self.names = dict(names or {})
        self._kept: Mapping[str, Kept] = operation.kept if isinstance(operation, Removal) else {}

    def renamed(self, names: Collection[str]) -> frozenset[str]:
        """The names, after the cut, of parameters that are still there."""
        after = (self.names.get(name, name) for name in names)
        return frozenset(name for name in after if name is not None)

    def __getitem__(self, name: str) -> Kept:
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def cut_(model: nn.Module, layout: Layout | Trace, masks: Mapping[str, Tensor]) -> CutPlan:
    """Remove masked units from a model in place: same object, same module names, smaller tensors.

    Each tensor is cut once, along all its axes. Parameters are new objects (one per tied set), so that a graph that
    autograd still holds stays right; ``requires_grad``, attributes and the sliced ``.grad`` are kept.

    Args:
        model: Changed in place, after everything has been checked.
        layout: Of this model: a trace, or what :func:`~flowprune.structure.slicing.slice_layout` gave after a cut.
        masks: Boolean ``(group.size,)`` by group name, True = kept. Groups that are not named stay whole.

    Raises:
        ValueError: a name is no group, or a mask has another length.
        PruningError: a mask empties a group, or the layout belongs to another model.

    Example:
        >>> from flowprune.structure.trace import trace
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> plan = cut_(model, trace(model, torch.ones(1, 3)), {"0.weight": torch.tensor([True, False, True, True])})
        >>> model[0].out_features, model[2].weight.shape, plan["0.bias"][0][1]
        (3, torch.Size([2, 3]), tensor([0, 2, 3]))
    """
    groups = layout.groups if isinstance(layout, Trace) else layout
    check_masks(groups, masks)
    if any(groups[name].kind == "depth" for name in masks):
        return _cut_blocks(model, groups, masks)
    known, before = recall(model), Moment.of(model)
    gone = removed_positions(groups, masks)
    sizes = new_sizes(model, groups, gone)
    kept = {name: tuple(axes.items()) for name, axes in _kept(gone, _tensors(model)).items()}
    plan = keep_(model, kept)
    for owner, attribute, size in sizes:
        setattr(owner, attribute, size)
    if kept:
        units = {name: (int(mask.sum()), groups[name].size) for name, mask in masks.items()}
        plan.operation = Removal(kept, before.settings(model), units, _zeroed(groups, masks, kept))
        record_(model, before, plan.operation)
    if known is not None and all(groups[n] is known.trace.groups.get(n) for n in masks):
        # The next round need not trace again.
        remember(model, slice_trace(known.trace, masks, kept), known.signature, known.example)
    return plan


def _cut_blocks(model: nn.Module, layout: Layout, masks: Mapping[str, Tensor]) -> CutPlan:
    """The same for units that are modules."""
    if any(layout[name].kind != "depth" for name in masks):
        raise invalid("cut_(masks=)", "of blocks alone, or of channels alone", list(masks), "Cut one after the other.")
    known, before, gone = recall(model, kind="depth"), Moment.of(model), gone_blocks(layout, masks)
    units = {name: (int(mask.sum()), layout[name].size) for name, mask in masks.items()}
    plan = leave_out_(model, Dropping(gone, units))
    if gone:
        record_(model, before, plan.operation)
    if known is not None:
        remember(model, shorten_trace(known.trace, gone), known.signature, known.example, kind="depth")
    return plan


def leave_out_(model: nn.Module, dropping: Dropping) -> CutPlan:
    """Take blocks out of a model in place; nothing is recorded.

    Raises:
        PruningError: it does not have them; nothing was changed.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
        >>> leave_out_(model, Dropping(("1",))).names["2.bias"], len(model)
        ('1.bias', 2)
    """
    dense = Architecture.of(model)
    dropped = drop_(model, dropping.modules)
    replaced: Replaced = dict.fromkeys(dropped.params)
    _tell(model, replaced, moved=True)
    return CutPlan(dropping, replaced, dense, dropped.names)


def keep_(model: nn.Module, kept: Mapping[str, Kept]) -> CutPlan:
    """Keep the given positions of tensors and cut all others, in place; nothing is checked, nothing is recorded.

    Args:
        model: Changed in place.
        kept: For each tensor that shrinks, its axes and the positions kept along them, ascending.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> _ = keep_(layer, {name: ((0, torch.tensor([0, 2])),) for name in ("weight", "bias")})
        >>> layer
        Linear(in_features=2, out_features=2, bias=True)
    """
    tensors, dense = _tensors(model), Architecture.of(model)
    new: dict[int, Tensor] = {id(tensors[name]): _smaller(tensors[name], axes) for name, axes in kept.items()}
    for module in swap_(model, new):
        fix_attributes(module)
    replaced: dict[nn.Parameter, tuple[nn.Parameter, Kept] | None] = {}
    for name, axes in kept.items():
        old, successor = tensors[name], new[id(tensors[name])]
        if isinstance(old, nn.Parameter) and isinstance(successor, nn.Parameter):
            replaced[old] = (successor, axes)
    _tell(model, replaced)
    return CutPlan(Removal(kept), replaced, dense)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _kept(removed: Mapping[tuple[str, int], Tensor], tensors: Mapping[str, Tensor]) -> dict[str, dict[int, Tensor]]:
    """For each tensor and axis, the positions that stay."""
    result: dict[str, dict[int, Tensor]] = {}
    for (name, axis), gone in removed.items():
        tensor = tensors.get(name)
        if tensor is None or axis >= tensor.dim() or int(gone[-1]) >= tensor.shape[axis]:
            shape = "no such tensor" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise PruningError(
                f"cut_(layout=) must be the layout of this model; it cuts axis {axis} of {name!r} at {int(gone[-1])}, "
                f"the model has {shape}. Trace the model again, or use slice_layout after every cut."
            )
        stays = torch.ones(tensor.shape[axis], dtype=torch.bool)
        stays[gone] = False
        if not bool(stays.any()):
            raise PruningError(
                f"cut_(masks=) must leave something of every tensor; axis {axis} of {name!r} is emptied."
            )
        result.setdefault(name, {})[axis] = stays.nonzero().flatten()
    return result


def own_(model: nn.Module, others: nn.Module) -> None:
    """Copies of the parameters that a model shares with another one, in their places; none has a gradient."""
    shared = {id(param) for param in others.parameters()}
    new: dict[int, Tensor] = {}
    replaced: dict[nn.Parameter, tuple[nn.Parameter, Kept]] = {}
    for param in model.parameters():
        if id(param) in shared:
            successor = cast("nn.Parameter", _smaller(param, ()))
            new[id(param)], replaced[param] = successor, (successor, ())
    swap_(model, new)
    _tell(model, replaced)
    for param in model.parameters():
        param.grad = None


def _zeroed(layout: Layout, masks: Mapping[str, Tensor], kept: Mapping[str, Kept]) -> dict[str, tuple[int, ...]]:
    """For each tensor that was cut, the axes along which it makes units rather than reads them."""
    made = {(member.name, member.axis) for name in masks for member in layout[name].members if member.zeroed}
    found = {name: tuple(axis for axis, _ in axes if (name, axis) in made) for name, axes in kept.items()}
    return {name: axes for name, axes in found.items() if axes}


def sliced(tensor: Tensor, axes: Kept) -> Tensor:
    """The kept positions of a tensor: one ``index_select`` per axis, the one that loses most first."""
    result = tensor.detach()
    if is_hollow(result):
        shape = list(result.shape)
        for axis, kept in axes:
            shape[axis] = len(kept)
        return result[(0,) * result.dim()].expand(shape)
    if not axes:
        return result.clone()
    for axis, kept in sorted(axes, key=lambda item: len(item[1]) / max(tensor.shape[item[0]], 1)):
        result = result.index_select(axis, kept.to(tensor.device))
    if tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        result = result.contiguous(memory_format=torch.channels_last)
    return result


def _smaller(old: Tensor, axes: Kept) -> Tensor:
    if not isinstance(old, nn.Parameter):
        return sliced(old, axes)
    new = nn.Parameter(sliced(old, axes), requires_grad=old.requires_grad)
    for key, value in vars(old).items():
        setattr(new, key, value)
    if old.grad is not None:
        new.grad = sliced(old.grad, axes)
    return new


def _tell(model: nn.Module, replaced: Replaced, *, moved: bool = False) -> None:
    """Things that modules carry and that hold parameters (masks that keep zeros) may follow a cut as well.

    Args:
        model: After the cut.
        replaced: What they are told by ``follow_cut``.
        moved: Whether parameters have other names now; they are told first, by ``follow_names``.
    """
    for module in model.modules():
        for carried in list(module.__dict__.values()):
            rename, follow = getattr(carried, "follow_names", None), getattr(carried, "follow_cut", None)
            if moved and callable(rename):
                rename({param: name for name, param in module.named_parameters()})
            if callable(follow):
                follow(replaced)
