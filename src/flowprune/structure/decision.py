"""What masks ask for: which units go as a whole, and which channels of single weights become zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.fingerprint import fingerprint
from flowprune.core.groups import channels_of
from flowprune.core.units import Member, UnitGroup
from flowprune.structure.capture import canonical
from flowprune.structure.parametrized import parametrized
from flowprune.structure.records import Trace

Slices = list[tuple[str, int, Tensor]]
"""Tensor name, axis, positions."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What to do to a model.

    Attributes:
        units: Boolean ``(group.size,)`` by group name, True = kept: the units that are removed.
        zeroed: Entries that become zero and stay in place: channels that masks name, but that other weights of
            their unit still feed.
    """

    units: dict[str, Tensor]
    zeroed: Slices


def decide(model: nn.Module, found: Trace, masks: Mapping[str, Tensor]) -> Decision:
    """Read masks against a trace.

    A mask with a layout speaks of units: the whole unit goes. A mask without one names weights: a unit goes if all
    weights that produce it are masked there; else the named weight's channel becomes zero, with the bias and the
    norm that are its own.

    Raises:
        ValueError: the masks belong to another model, or have wrong names, types or lengths.
        PruningError: a mask leaves nothing of a layer, or was made for units that the model does not have.
    """
    params = dict(model.named_parameters())
    same_model(params, masks)
    names = canonical(model)
    _refuse_computed(model, masks)
    layout = channels_of("remove(masks=)", getattr(masks, "layout", None) or {})
    units: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for name, mask in masks.items():
        whole = name in layout and _is_unit_mask(found, name, layout[name])
        branch = name in layout and not layout[name].removable
        size = found.groups[name].size if whole else _channels(params, names, found, name)
        spread = _spread(mask, layout[name], size) if branch else mask
        _check(name, spread, size)
        (units if whole else weights)[names.get(name, name)] = spread.cpu()
    return _with_weights(found, units, weights)


def _refuse_computed(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Raise where a mask names what a parametrization computes a weight from: zeros there are none in the weight."""
    for path, weight, _, sources in parametrized(model):
        name = next((name for name in sources if name in masks and not bool(masks[name].all())), None)
        if name is not None:
            raise PruningError(
                f"remove(masks=) must name weights; {name!r} is what a parametrization computes {weight!r} from. Call "
                f"torch.nn.utils.parametrize.remove_parametrizations on {path or 'the model'!r} first."
            )


def same_model(params: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Raise where masks carry the fingerprint of another model."""
    expected, actual = getattr(masks, "fingerprint", None), fingerprint(params)
    if expected is not None and expected != actual:
        raise invalid(
            "remove(masks=)",
            f"made for this model (fingerprint {actual})",
            f"masks of fingerprint {expected}",
            "Score and select on this model, or load the masks of the same architecture.",
        )


def _is_unit_mask(found: Trace, name: str, claimed: UnitGroup) -> bool:
    """Whether the layout of the masks speaks of a group of this trace; rows, and one branch, speak of one weight."""
    if not claimed.removable:
        return False
    traced = found.groups.get(name)
    if traced is not None and _shape(traced) == _shape(claimed):
        return True
    if len(claimed.members) == 1 and claimed.members[0].name == name:
        return False
    raise PruningError(
        f"remove(masks=) must be made for the units of this model; group {name!r} has "
        f"{claimed.size} units in {len(claimed.members)} tensors, the model "
        f"{f'{traced.size} in {len(traced.members)}' if traced is not None else 'no such group'}. "
        "Score and select again with Channels(example_inputs=...)."
    )


def _shape(group: UnitGroup) -> tuple[int, frozenset[tuple[str, int, str]]]:
    return group.size, frozenset((m.name, m.axis, str(m.role)) for m in group.members)


def _channels(params: Mapping[str, Tensor], names: Mapping[str, str], found: Trace, name: str) -> int:
    tensor = params.get(names.get(name, name))
    if tensor is None or tensor.dim() == 0:
        raise unknown("remove(masks=): the model", name, params)
    return tensor.shape[found.producers.get(names[name], 0)]


def _spread(mask: Tensor, group: UnitGroup, size: int) -> Tensor:
    """The mask of a branch's units as one of all channels of its weight; those that are no units stay."""
    own = group.members[0]
    if mask.shape != (group.size,) or (len(own.positions) and int(own.positions.max()) >= size):
        return mask  # refused by its length
    channels = torch.ones(size, dtype=mask.dtype)
    channels[own.positions] = mask.cpu()[own.units]
    return channels


def _check(name: str, mask: Tensor, size: int) -> None:
    where = f"remove(masks=): mask of {name!r}"
    if mask.dim() != 1:
        todo = "Masks of single weights remove nothing: use fp.apply(model, masks)."
        raise invalid(where, "one boolean per channel", f"shape {tuple(mask.shape)}", todo)
    if mask.dtype != torch.bool or mask.numel() != size:
        got = f"{mask.dtype} of length {mask.numel()}"
        raise invalid(where, f"boolean of length {size}, True = kept", got, "Is it for another model?")
    if not bool(mask.any()):
        raise PruningError(
            f"remove(masks=) must keep at least one channel of every layer; {name!r} loses all {size}. "
            "Keep one, or raise the floor in select(...)."
        )


def _with_weights(found: Trace, units: dict[str, Tensor], weights: Mapping[str, Tensor]) -> Decision:
    """Promote masked weights to removed units where no other weight feeds them; the rest becomes zero."""
    left = {name: ~mask for name, mask in weights.items()}  # positions that become zero
    for name, group in found.groups.items():
        producers = [m for m in group.members if m.role == "weight" and m.scored]
        if not any(m.name in weights for m in producers):
            continue
        fed = torch.zeros(group.size, dtype=torch.bool)
        for member in producers:
            fed[member.units[_kept(found, weights, member)]] = True
        if name in units:
            fed &= units[name]
        if not bool(fed.any()):
            raise PruningError(f"remove(masks=) must keep at least one unit of every layer; {name!r} loses all.")
        if group.kind == "heads":
            _whole(found, weights, name, fed)
        units[name] = fed
    for name, mask in units.items():
        for member in found.groups[name].members:
            if member.name in left and member.axis == found.producers.get(member.name):
                left[member.name][member.positions[~mask[member.units]]] = False
    return Decision(units, [part for name, gone in left.items() for part in _zeroed(found, name, gone)])


def _whole(found: Trace, weights: Mapping[str, Tensor], name: str, fed: Tensor) -> None:
    """Raise where channels of a head go and the head stays."""
    for member in (m for m in found.groups[name].members if m.name in weights and m.role == "weight" and m.scored):
        split = fed[member.units] & ~_kept(found, weights, member)
        if bool(split.any()):
            heads = sorted(set(member.units[split].tolist()))
            raise PruningError(
                f"remove(masks=) must keep or remove heads of attention as a whole; the mask of {member.name!r} cuts "
                f"channels of heads {heads} of {name!r}, which stay. Mask all weights of a head (queries, keys and "
                "values, with grouped queries all heads that share keys), or select with fp.Channels."
            )


def _kept(found: Trace, weights: Mapping[str, Tensor], member: Member) -> Tensor:
    """Which positions of a producing weight go on feeding their unit."""
    mask = weights.get(member.name)
    if mask is None or member.axis != found.producers.get(member.name):
        return torch.ones(len(member.positions), dtype=torch.bool)
    return mask[member.positions]


def _zeroed(found: Trace, name: str, gone: Tensor) -> Slices:
    """The entries of one weight's channels: its slices, and those of the bias and the norms it owns."""
    if not bool(gone.any()):
        return []
    axis = found.producers.get(name, 0)
    parts: Slices = [(name, axis, gone.nonzero().flatten())]
    for owned in (item for item in found.owned.get(name, ()) if item.along == axis):
        positions = torch.from_numpy(owned.positions)
        hit = (positions >= 0) & gone[positions.clamp(min=0)]
        if bool(hit.any()):
            parts.append((owned.name, owned.axis, hit.nonzero().flatten()))
    return parts
