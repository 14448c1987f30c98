"""The kinds of operation that a plan can hold: how each is written, read, and done to a model.

A further kind is a record with its own ``kind``, kept by
:func:`flowprune.structure.history.record_` where it is done, and one row here. A plan with a kind that has no row is
refused before anything is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from flowprune.masks import apply
from flowprune.plan.packing import Store, pack_mask, pack_positions, unpack_mask, unpack_positions
from flowprune.structure.cut import keep_, leave_out_, sliced
from flowprune.structure.history import Dropping, Removal, Zeroing
from flowprune.structure.masked import zero_
from flowprune.structure.settings import Setting, set_

Entry = dict[str, Any]
"""What stands in ``plan.json`` for an operation, beside its ``kind``."""
Shapes = dict[str, tuple[int, ...]]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Masking:
    """Weights are held at zero, from here on.

    Attributes:
        masks: Boolean, of the shapes of the parameters as they are then, True = kept.
    """

    kind: ClassVar[str] = "mask"
    masks: Mapping[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """One kind of operation, as six functions of its record.

    Attributes:
        pack: The record as JSON; long indices go to the store under a name that begins with the key.
        unpack: The record from that.
        carry_out: Do it to a model, in place.
        imitate: Do to a model, in place, what gives the same function at full size: what a removal is verified with.
        on_tensors: Do it to tensors by name, in place of the mapping; names that it does not hold are passed over.
        reshape: The shapes of all tensors after it.
    """

    pack: Callable[[Any, str, Store], Entry]
    unpack: Callable[[Entry, Store], Any]
    carry_out: Callable[[nn.Module, Any], None]
    imitate: Callable[[nn.Module, Any], None]
    on_tensors: Callable[[dict[str, Tensor], Any], None]
    reshape: Callable[[Shapes, Any], Shapes]


def _pack_removal(removal: Removal, key: str, store: Store) -> Entry:
    kept = {
        name: {str(axis): pack_positions(positions, f"{key}/{name}/{axis}", store) for axis, positions in axes}
        for name, axes in removal.kept.items()
    }
    settings = [{"module": s.module, "name": s.name, "old": s.old, "new": s.new} for s in removal.settings]
    units = {name: {"kept": count, "of": of} for name, (count, of) in removal.units.items()}
    zeroed = {name: list(axes) for name, axes in removal.zeroed.items()}
    return {"kept": kept, "settings": settings, "units": units, "zeroed": zeroed}


def _unpack_removal(entry: Entry, store: Store) -> Removal:
    kept = {
        name: tuple((int(axis), unpack_positions(packed, store)) for axis, packed in axes.items())
        for name, axes in entry["kept"].items()
    }
    settings = tuple(Setting(s["module"], s["name"], s["old"], s["new"]) for s in entry["settings"])
    units = {name: (unit["kept"], unit["of"]) for name, unit in entry["units"].items()}
    return Removal(kept, settings, units, {name: tuple(axes) for name, axes in entry["zeroed"].items()})


def _remove(model: nn.Module, removal: Removal) -> None:
    keep_(model, removal.kept)
    set_(model, removal.settings)


def _zero_removed(model: nn.Module, removal: Removal) -> None:
    params = dict(model.named_parameters())
    for name, made in removal.zeroed.items():
        for axis, kept in removal.kept[name]:
            if axis not in made:
                continue
            gone = torch.ones(params[name].shape[axis], dtype=torch.bool)
            gone[kept] = False
            zero_(params[name], axis, gone.nonzero().flatten())


def _slice_tensors(tensors: dict[str, Tensor], removal: Removal) -> None:
    tensors.update({name: sliced(tensors[name], axes) for name, axes in removal.kept.items() if name in tensors})


def _removed_shapes(shapes: Shapes, removal: Removal) -> Shapes:
    after = dict(shapes)
    for name, axes in removal.kept.items():
        sizes = {axis: len(kept) for axis, kept in axes}
        after[name] = tuple(sizes.get(axis, size) for axis, size in enumerate(shapes[name]))
    return after


def _pack_dropping(dropping: Dropping, key: str, store: Store) -> Entry:
    del key, store
    units = {name: {"kept": count, "of": of} for name, (count, of) in dropping.units.items()}
    return {"modules": list(dropping.modules), "units": units}


def _unpack_dropping(entry: Entry, store: Store) -> Dropping:
    del store
    units = {name: (unit["kept"], unit["of"]) for name, unit in entry["units"].items()}
    return Dropping(tuple(entry["modules"]), units)


def _drop(model: nn.Module, dropping: Dropping) -> None:
    leave_out_(model, dropping)


@torch.no_grad()
def _zero_modules(model: nn.Module, dropping: Dropping) -> None:
    """As a mask does: a parameter without an axis stays as it is."""
    for path in dropping.modules:
        for param in model.get_submodule(path).parameters():
            if param.dim():
                param.zero_()


def _drop_tensors(tensors: dict[str, Tensor], dropping: Dropping) -> None:
    left = _dropped(tensors, dropping)
    tensors.clear()
    tensors.update(left)


def _dropped(entries: Mapping[str, T], dropping: Dropping) -> dict[str, T]:
    """What is left, under the names of afterwards."""
    after = ((dropping.name_after(name), value) for name, value in entries.items())
    return {name: value for name, value in after if name is not None}


def _pack_zeroing(zeroing: Zeroing, key: str, store: Store) -> Entry:
    slices = [
        {"name": name, "axis": axis, "at": pack_positions(at.cpu(), f"{key}/{number}", store)}
        for number, (name, axis, at) in enumerate(zeroing.slices)
    ]
    return {"slices": slices}


def _unpack_zeroing(entry: Entry, store: Store) -> Zeroing:
    return Zeroing(tuple((s["name"], s["axis"], unpack_positions(s["at"], store)) for s in entry["slices"]))


def _zero_slices(model: nn.Module, zeroing: Zeroing) -> None:
    for name, axis, positions in zeroing.slices:
        zero_(model.get_parameter(name), axis, positions)


def _zero_in_tensors(tensors: dict[str, Tensor], zeroing: Zeroing) -> None:
    for name, axis, positions in zeroing.slices:
        if name in tensors:
            tensors[name] = tensors[name].detach().clone()
            zero_(tensors[name], axis, positions)


def _pack_masking(masking: Masking, key: str, store: Store) -> Entry:
    return {"masks": {name: pack_mask(mask, f"{key}/{name}", store) for name, mask in masking.masks.items()}}


def _unpack_masking(entry: Entry, store: Store) -> Masking:
    return Masking({name: unpack_mask(packed, store) for name, packed in entry["masks"].items()})


def _mask(model: nn.Module, masking: Masking) -> None:
    apply(model, masking.masks)


def _mask_tensors(tensors: dict[str, Tensor], masking: Masking) -> None:
    for name, mask in masking.masks.items():
        if name in tensors:
            tensors[name] = tensors[name].detach().masked_fill(~mask.to(tensors[name].device), 0)


def _as_they_are(shapes: Shapes, record: object) -> Shapes:
    del record
    return shapes


OPERATIONS: Mapping[str, Kind] = {
    Zeroing.kind: Kind(_pack_zeroing, _unpack_zeroing, _zero_slices, _zero_slices, _zero_in_tensors, _as_they_are),
    Removal.kind: Kind(_pack_removal, _unpack_removal, _remove, _zero_removed, _slice_tensors, _removed_shapes),
    Masking.kind: Kind(_pack_masking, _unpack_masking, _mask, _mask, _mask_tensors, _as_they_are),
    Dropping.kind: Kind(_pack_dropping, _unpack_dropping, _drop, _zero_modules, _drop_tensors, _dropped),
}
"""By the ``kind`` that stands in the plan."""
